"""Custom operators: which native library serves a domain that a bundle's graphs ask for.

Code is never loaded from a bundle: a bundle is data. The library is the package's own, compiled from its own sources
(`rsvlm_cli.runtime.native.build`), inside the package or, where that folder is read-only, in the user's cache.
"""

import ctypes
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import platformdirs

from rsvlm_cli.errors import BundleError
from rsvlm_cli.runtime.dispatch import DOMAIN, VERSION
from rsvlm_cli.runtime.native import build

STOCK_DOMAINS = ("", "ai.onnx", "com.microsoft")

SWITCH = "RSVLM_NATIVE"
"""Environment variable; 0 leaves the native operators aside."""


def library_folders() -> tuple[Path, ...]:
    """Return where the library may lie, the first match winning."""
    return build.SOURCES, Path(platformdirs.user_cache_dir("rsvlm", appauthor=False)) / "native"


def native_library() -> Path | None:
    """Return the library of the native operators, or None where it is not built or not wanted."""
    if os.environ.get(SWITCH) == "0":
        return None
    return next(filter(Path.is_file, (folder / _library_name() for folder in library_folders())), None)


def build_native() -> Path:
    """Return the library of the native operators, compiled if it is not there yet.

    Raises:
        CompileError: in one line, if there is no compiler or it fails.
    """
    found = next(filter(Path.is_file, (folder / _library_name() for folder in library_folders())), None)
    if found is not None:
        return found
    package, cached = library_folders()
    try:
        return build.compile_library(package)
    except OSError:
        try:
            return build.compile_library(cached)
        except OSError as error:
            raise build.CompileError(f"{cached}: {error.strerror}") from error


def describe_native() -> str:
    """Return one line: which kernels the native operators run here, or why they do not."""
    library = native_library()
    if library is not None:
        return f"{native_kernels(library)} kernels, {library.name}"
    if os.environ.get(SWITCH) == "0":
        return f"left aside ({SWITCH}=0); quantised models run on stock operators"
    way_out = "rsvlm doctor --build compiles them" if build.find_compiler() else "install a C++ compiler to have them"
    return f"not built, quantised models run slower on stock operators ({way_out})"


def native_kernels(library: Path) -> str:
    """Return the name of the kernels that a library uses on this CPU."""
    name = ctypes.CDLL(str(library)).rsvlm_kernels
    name.restype = ctypes.c_char_p
    text: bytes = name()
    return text.decode()


def can_serve(ops: Mapping[str, int]) -> bool:
    """Return whether every custom domain of these is served here."""
    return all(_library(domain, version) is not None for domain, version in _custom(ops).items())


def find_libraries(ops: Mapping[str, int]) -> list[Path]:
    """Return the native libraries that graphs need.

    Args:
        ops: operator domain -> version.

    Raises:
        BundleError: if this installation has no library for one of them.
    """
    found = []
    for domain, version in _custom(ops).items():
        library = _library(domain, version)
        if library is None:
            raise BundleError(
                f"the graphs need operators {domain} version {version}, which this installation lacks "
                "(import the model again without them)"
            )
        found.append(library)
    return found


def _custom(ops: Mapping[str, int]) -> dict[str, int]:
    return {domain: version for domain, version in ops.items() if domain not in STOCK_DOMAINS}


def _library(domain: str, version: int) -> Path | None:
    return native_library() if domain == DOMAIN and 1 <= version <= VERSION else None


@cache
def _library_name() -> str:
    return build.library_name()

"""Compiles the native operators, where a C++ compiler is there.

The build of a wheel calls this (hatch_build.py), so does an export of a quantised model, and ``rsvlm doctor --build``.
It needs nothing but Python and a compiler: no header of ONNX Runtime, no package. So that it can be run before anything
is installed, it imports the standard library alone.

A library's name carries a digest of the sources it was made from: after an update, an old one is not found, and nothing
stale is ever loaded.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mavx2", "-mfma")
UNITS: dict[str, tuple[str, ...]] = {
    "library.cpp": (),
    "operators.cpp": (),
    "attention.cpp": (),
    "kernel_plain.cpp": (),
    "kernel_avx2.cpp": ("-mavx2", "-mfma"),
    "kernel_avx512.cpp": AVX512,
    "kernel_amx.cpp": AVX512,
}
"""Source -> flags of its instruction set; which of them a CPU may run is decided when the library is loaded."""

AMX = ("-mamx-tile", "-mamx-int8")
"""Flags of kernel_amx.cpp beyond those, where the compiler and its assembler know them; without them it is empty."""

COMPILE_SECONDS = 300


class CompileError(Exception):
    """There is no compiler, or it failed."""


def library_name() -> str:
    """Return the file name of the library that these sources make on this kind of machine."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h"), Path(__file__)]):
        digest.update(path.read_bytes())
    return f"rsvlm_ops-{sys.platform}-{platform.machine()}-{digest.hexdigest()[:12]}.so"


def find_compiler() -> str | None:
    """Return a C++ compiler's path: what ``CXX`` names, or the first of c++, g++ and clang++."""
    if sys.platform == "win32":
        return None
    named = os.environ.get("CXX")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def compile_library(folder: Path) -> Path:
    """Compile into a folder; the library appears whole or not at all.

    Raises:
        CompileError: in one line, if there is no compiler or it fails.
        OSError: if the folder cannot be written to.
    """
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("no C++ compiler (install g++ or clang++, or name one in CXX)")
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    units = [unit for unit in UNITS if x86 or not unit.startswith(("kernel_avx", "kernel_amx"))]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build.") as name:
        workspace = Path(name)
        amx = AMX if x86 and _knows_amx(compiler, workspace) else ()
        for unit in units:
            source, made = SOURCES / unit, workspace / f"{unit}.o"
            flags = UNITS[unit] + (amx if unit == "kernel_amx.cpp" else ())
            _run([compiler, *FLAGS, *flags, "-c", str(source), "-o", str(made)])
        static = [] if sys.platform == "darwin" else ["-static-libstdc++", "-static-libgcc"]
        objects = [str(workspace / f"{unit}.o") for unit in units]
        library = workspace / library_name()
        _run([compiler, "-shared", *static, "-o", str(library), *objects])
        return library.replace(folder / library.name)


def _knows_amx(compiler: str, workspace: Path) -> bool:
    probe = workspace / "probe.cpp"
    probe.write_text("#include <immintrin.h>\nvoid probe() { _tile_dpbssd(0, 1, 2); }\n")
    try:
        _run([compiler, *AMX, "-c", str(probe), "-o", str(probe.with_suffix(".o"))])
    except CompileError:
        return False
    return True


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(f"{command[0]}: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["failed"]
        raise CompileError(f"{command[0]}: {lines[0].strip()[:200]}")

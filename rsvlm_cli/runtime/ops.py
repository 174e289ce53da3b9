"""Custom operators: which native library serves a domain that a bundle's graphs ask for (manifest key ``ops``)."""

from collections.abc import Mapping
from pathlib import Path

from rsvlm_cli.errors import BundleError

LIBRARIES: dict[tuple[str, int], str] = {}
"""(domain, version) -> file in ``rsvlm_cli/runtime/native``. Code is never loaded from a bundle: a bundle is data."""

STOCK_DOMAINS = ("", "ai.onnx", "com.microsoft")


def find_libraries(ops: Mapping[str, int]) -> list[Path]:
    """Return the native libraries that graphs need.

    Args:
        ops: operator domain -> version.

    Raises:
        BundleError: if this installation has no library for one of them.
    """
    folder = Path(__file__).parent / "native"
    found = []
    for domain, version in ops.items():
        if domain in STOCK_DOMAINS:
            continue
        name = LIBRARIES.get((domain, version))
        if name is None or not (folder / name).is_file():
            raise BundleError(
                f"the graphs need operators {domain} version {version}, which this installation lacks "
                "(import the model again without them)"
            )
        found.append(folder / name)
    return found

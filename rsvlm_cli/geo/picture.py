"""A picture as a GeoTIFF."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from rsvlm_cli.geo.gdal import gdal_session
from rsvlm_cli.geo.write import replaced_file
from rsvlm_cli.results import Affine6


def write_picture(path: Path, pixels: np.ndarray, crs: str, transform: Affine6, *, overwrite: bool = False) -> None:
    """Write an RGB picture as a tiled, compressed GeoTIFF.

    Args:
        path: the target.
        pixels: ``(H, W, 3)`` uint8.
        crs: as in `results.Source`.
        transform: as in `results.Source`.
        overwrite: whether an existing target is replaced.

    Raises:
        OutputExists: if the target exists and ``overwrite`` is false.
        InputError: if the target cannot be written.
    """
    height, width, count = pixels.shape
    profile = {
        "driver": "GTiff", "width": width, "height": height, "count": count, "dtype": "uint8", "crs": crs,
        "transform": Affine(*transform), "photometric": "RGB", "compress": "deflate", "predictor": 2, "tiled": True,
    }  # fmt: skip
    with (
        replaced_file(path, overwrite=overwrite) as part,
        gdal_session(path, doing="write"),
        rasterio.open(part, "w", **profile) as target,
    ):
        target.write(np.moveaxis(pixels, -1, 0))


def gdal_version() -> str:
    """Return the version of the GDAL that reads and writes."""
    return str(rasterio.__gdal_version__)

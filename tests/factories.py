"""Rasters made for tests: exact content, any band count, type, coordinate system and nodata; nothing is stored."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.transform import Affine

UTM33 = "EPSG:32633"
ONE_METRE = Affine(1.0, 0.0, 500_000.0, 0.0, -1.0, 5_000_000.0)


def draw_scene(size_px: tuple[int, int] = (256, 256), *, buildings: int = 0, seed: int = 0) -> np.ndarray:
    """Draw green ground with a grey road, a blue river and ``buildings`` bright roofs that do not touch.

    ``size_px`` is width, height. The same seed gives the same ground and the same first roofs, so a scene with more
    buildings is a later date of a scene with fewer. Returns ``(3, height, width)`` uint8.
    """
    width, height = size_px
    rng = np.random.default_rng(seed)
    scene = np.empty((3, height, width), np.float32)
    scene[:] = np.array([70, 105, 60], np.float32)[:, None, None] + rng.normal(0, 8, (height, width))
    scene[:, :, width // 8 : width // 8 + width // 16] = np.array([40, 70, 110], np.float32)[:, None, None]
    scene[:, height // 2 : height // 2 + height // 40 + 1] = 120
    side = min(width, height) // 10
    columns = np.arange(width // 4, width - 2 * side, 2 * side)
    rows = np.concatenate(
        [np.arange(side, height // 2 - side, 2 * side), np.arange(height // 2 + side, height - side, 2 * side)]
    )
    spots = rng.permutation([(x, y) for x in columns for y in rows])
    for x, y in spots[:buildings]:
        scene[:, y : y + side, x : x + side] = np.array([200, 190, 185], np.float32)[:, None, None]
    return np.clip(scene, 0, 255).astype(np.uint8)


def write_geotiff(
    path: Path,
    pixels: np.ndarray,
    *,
    crs: str | None = UTM33,
    transform: Affine | None = ONE_METRE,
    nodata: float | None = None,
    names: tuple[str, ...] = (),
    colours: tuple[ColorInterp, ...] = (),
    **profile,
) -> Path:
    """Write ``(bands, height, width)`` pixels of any type, with whatever georeference it is given."""
    bands, height, width = pixels.shape
    keys = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **(keys | profile), crs=crs, transform=transform, nodata=nodata) as dataset:
        dataset.write(pixels)
        if names:
            dataset.descriptions = names
        if colours:
            dataset.colorinterp = colours
    return path


def write_rpcs(path: Path, pixels: np.ndarray) -> Path:
    """Write what a camera sees whose line and sample are latitude and longitude, moved by the height above 250 m."""
    bands, height, width = pixels.shape
    zero = [0.0] * 20
    line, sample, one = ([*zero[:k], v, *zero[k + 1 :]] for k, v in ((2, -1.0), (1, 1.0), (0, 1.0)))
    rpcs = RPC(
        height_off=250, height_scale=500, lat_off=45.0, lat_scale=0.01, long_off=15.0, long_scale=0.01,
        line_off=height / 2, line_scale=height / 2, samp_off=width / 2, samp_scale=width / 2, line_num_coeff=line,
        line_den_coeff=one, samp_num_coeff=[*sample[:3], 0.5, *sample[4:]], samp_den_coeff=one,
    )  # fmt: skip
    keys = {"driver": "GTiff", "width": width, "height": height, "count": bands, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **keys, rpcs=rpcs) as dataset:
        dataset.write(pixels)
    return path


def write_slope(path: Path, *, west: float = 14.98, columns: int = 100, **keys) -> Path:
    """Write heights of 275 m on 15 E that rise by 12.5 m for each hundredth of a degree eastward."""
    step = 0.0004
    height = 275 + 12.5 * (west + (np.arange(columns) + 0.5) * step - 15) / 0.01
    pixels = np.repeat(height.astype(np.float32)[None, None], 100, axis=1)
    return write_geotiff(path, pixels, transform=Affine(step, 0, west, 0, -step, 45.02), **{"crs": "EPSG:4326"} | keys)

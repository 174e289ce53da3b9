"""Masks as GIS data: cloud-optimised GeoTIFF, and polygons in pixels.

Axes: R rows and Q columns of cells.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.features import rasterize, shapes
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from rsvlm_cli import __version__
from rsvlm_cli.errors import InputError, OutputExists
from rsvlm_cli.geo.gdal import gdal_session
from rsvlm_cli.results import Affine6, Mask, Source

NO_DATA = 255
BLOCK_PX = 512
BACKGROUND = "background"
"""What a viewer calls value 0."""
COG_OPTIONS = {"compress": "DEFLATE", "overview_resampling": "MODE", "bigtiff": "IF_SAFER"}

COLOURS = (
    (230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (170, 110, 40), (128, 128, 0), (0, 128, 128), (128, 0, 0),
)  # fmt: skip
"""Of class 1, 2, ...; told apart by most kinds of colour vision; they repeat after the twelfth class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPolygon:
    """One connected patch of a mask (cells that share a side).

    Attributes:
        label: its class.
        score: mean probability of its cells, or None where the mask has none.
        rings_px: closed rings ``(N, 2)`` in the raster's pixels, the outer one first; they follow the cells' edges.
    """

    label: str
    score: float | None
    rings_px: tuple[np.ndarray, ...]


def write_mask(
    path: str | Path,
    mask: Mask,
    source: Source,
    *,
    overwrite: bool = False,
    grid: Literal["cells", "pixels"] = "cells",
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write a mask as a cloud-optimised uint8 GeoTIFF (COG); it appears whole or not at all.

    It is tiled and compressed, has a colour table, and overviews (most common value) where it exceeds a tile. The names
    of the classes stand in its tags, and where GDAL and QGIS look for them: in ``<path>.aux.xml`` beside it, since a
    TIFF has no field for them.

    Args:
        path: the target.
        mask: written value by value: 0 background, k for ``labels[k - 1]``, 255 no data.
        source: the raster that the mask lies on; its CRS is kept, and without one the file has none.
        overwrite: whether an existing target is replaced.
        grid: ``cells`` writes one pixel a cell, as coarse as the mask is; ``pixels`` repeats cells on the source's
            pixel grid, over the whole raster, no data outside the mask.
        provenance: further tags, each written as ``RSVLM_<KEY>``.

    Raises:
        OutputExists: if the target exists and ``overwrite`` is false.
        InputError: if the target cannot be written.
    """
    rows, columns = mask.cells.shape
    width, height = (columns, rows) if grid == "cells" else (source.width_px, source.height_px)
    transform = None
    if source.transform is not None:
        transform = Affine(*source.transform) if grid == "pixels" else _cells_to_crs(mask, source.transform)
    profile = {
        "driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8", "nodata": NO_DATA,
        "crs": source.crs, "transform": transform, "compress": "deflate",
        "tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX,
    }  # fmt: skip
    tags = {"TIFFTAG_SOFTWARE": f"rsvlm {__version__}"}
    tags |= {f"RSVLM_CLASS_{value}": label for value, label in enumerate(mask.labels, start=1)}
    tags |= {
        "RSVLM_SOURCE": Path(source.path).name,
        "RSVLM_AREA_PX": ",".join(f"{v:g}" for v in mask.area_px),
        "RSVLM_BANDS": ", ".join(source.bands),
        "RSVLM_STRETCH": source.stretch,
    }
    tags |= {f"RSVLM_{key.upper()}": value for key, value in (provenance or {}).items()}
    with replaced_file(path, overwrite=overwrite) as part, gdal_session(path, doing="write"), MemoryFile() as memory:
        # A COG is laid out from its overviews up, so it is copied from a plain file; compressed, a mask is small.
        with memory.open(**profile) as target:
            target.write_colormap(1, value_colours(len(mask.labels)))
            target.set_band_description(1, ", ".join(mask.labels))
            target.update_tags(**tags)
            for top in range(0, height, BLOCK_PX):
                strip = (
                    mask.cells[top : top + BLOCK_PX]
                    if grid == "cells"
                    else _pixel_rows(mask, top, min(top + BLOCK_PX, height), width)
                )
                target.write(strip[None], window=((top, top + len(strip)), (0, width)))
        rasterio.shutil.copy(memory.name, part, driver="COG", blocksize=BLOCK_PX, **COG_OPTIONS)
    # Of a mask that stood there before, this file would be as stale as the mask.
    with replaced_file(f"{path}.aux.xml", overwrite=True) as part:
        part.write_bytes(_category_names(mask.labels))


def value_colours(n_labels: int) -> dict[int, tuple[int, int, int, int]]:
    """Return the colour table of a mask: value -> red, green, blue, alpha; the background is transparent."""
    return {0: (0, 0, 0, 0)} | {k: (*COLOURS[(k - 1) % len(COLOURS)], 255) for k in range(1, n_labels + 1)}


def _category_names(labels: Sequence[str]) -> bytes:
    """Return GDAL's side-car of a raster (PAM) with the names of the values 0, 1, 2, ..."""
    root = ElementTree.Element("PAMDataset")
    names = ElementTree.SubElement(ElementTree.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for name in (BACKGROUND, *labels):
        ElementTree.SubElement(names, "Category").text = "".join(char for char in name if char.isprintable())
    return ElementTree.tostring(root)


def polygonise_mask(mask: Mask) -> list[MaskPolygon]:
    """Return the patches of every class, in reading order of their first cell; background and no data give none.

    For map and lon/lat coordinates see `georef.Georeference`.
    """
    set_cells = (mask.cells > 0) & (mask.cells <= len(mask.labels))
    transform = cells_to_px(mask)
    found = list(shapes(mask.cells, mask=set_cells, connectivity=4, transform=transform))
    scores: list[float | None] = [None] * len(found)
    if found and mask.probability is not None:
        ids = rasterize(
            ((geometry, k) for k, (geometry, _) in enumerate(found, start=1)), mask.cells.shape, transform=transform,
            dtype="int32",
        ).ravel()  # fmt: skip
        sums, counts = np.bincount(ids, mask.probability.ravel()), np.bincount(ids)
        scores = [float(v) for v in sums[1:] / counts[1:]]
    polygons = [
        MaskPolygon(
            label=mask.labels[int(value) - 1],
            score=score,
            rings_px=tuple(np.array(ring) for ring in geometry["coordinates"]),
        )
        for (geometry, value), score in zip(found, scores, strict=True)
    ]
    return sorted(polygons, key=lambda polygon: min((y, x) for x, y in polygon.rings_px[0].tolist()))


def cells_to_px(mask: Mask) -> Affine:
    """Return the transform from cell to pixel coordinates."""
    rows, columns = mask.cells.shape
    x1, y1, x2, y2 = mask.area_px
    return Affine((x2 - x1) / columns, 0.0, x1, 0.0, (y2 - y1) / rows, y1)


def _cells_to_crs(mask: Mask, transform: Affine6) -> Affine:
    a, b, c, d, e, f = transform
    width, _, x, _, height, y = tuple(cells_to_px(mask))[:6]
    return Affine(a * width, b * height, a * x + b * y + c, d * width, e * height, d * x + e * y + f)


@contextmanager
def replaced_file(path: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a path beside the target to write to; it replaces the target if the block ends well, else it is removed.

    Raises:
        OutputExists: if the target exists and ``overwrite`` is false.
        InputError: if the target's folder does not exist, or the file cannot be put in place.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise OutputExists(f"{path}: exists already (replace it with --overwrite, or name another file)")
    if not target.parent.is_dir():
        raise InputError(f"{path}: its folder does not exist (create it first)")
    part = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield part
        os.replace(part, target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _pixel_rows(mask: Mask, top: int, bottom: int, width: int) -> np.ndarray:
    """Return rows of the source's pixel grid: the cell under each pixel's centre, no data outside the mask."""
    rows, columns = mask.cells.shape
    inverse = ~cells_to_px(mask)
    row = np.floor((np.arange(top, bottom) + 0.5) * inverse.e + inverse.f).astype(int)
    column = np.floor((np.arange(width) + 0.5) * inverse.a + inverse.c).astype(int)
    inside = np.outer((row >= 0) & (row < rows), (column >= 0) & (column < columns))
    cells = mask.cells[np.ix_(row.clip(0, rows - 1), column.clip(0, columns - 1))]
    return np.where(inside, cells, np.uint8(NO_DATA))

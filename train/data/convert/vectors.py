"""Features drawn in a GIS, in the pixels of the raster that they were drawn on.

Axes: H rows, W columns of a window. Shapes are shapely geometries whose coordinates are pixels of the whole raster.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio.features
import rasterio.warp
import shapely
from rasterio.transform import Affine
from shapely.geometry.base import BaseGeometry

from rsvlm_cli.errors import InputError
from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.raster import Raster

WindowPx = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One feature.

    Attributes:
        layer: its layer's name.
        shape: in pixels of the raster.
        words: its attributes that hold text, by their names in lower case.
    """

    layer: str
    shape: BaseGeometry
    words: dict[str, str]

    @property
    def box_px(self) -> tuple[float, float, float, float]:
        """The upright box around it."""
        x1, y1, x2, y2 = self.shape.bounds
        return (x1, y1, x2, y2)


def read_drawn(path: Path, raster: Raster) -> Iterator[Drawn]:
    """Yield every feature of a GeoPackage (or whatever else GDAL reads) that has a shape.

    A layer in another coordinate system is warped. Without a georeference on either side, x is the pixel's column and y
    its row with the sign turned, as `rsvlm` writes such layers and a desktop GIS shows such rasters.

    Raises:
        InputError: if the file cannot be read, or only one of raster and layer has a georeference.
    """
    try:
        for name, kind in pyogrio.list_layers(path):
            if kind is None:
                continue
            meta, _, wkb, columns = pyogrio.raw.read(path, layer=name)
            shapes = _to_px(shapely.from_wkb(wkb), meta["crs"], path, raster)
            fields = [str(field).lower() for field in meta["fields"]]
            for shape, *values in zip(shapes, *columns, strict=True):
                if shape is not None and not shape.is_empty:
                    words = {
                        f: v.strip() for f, v in zip(fields, values, strict=True) if isinstance(v, str) and v.strip()
                    }
                    yield Drawn(layer=str(name).lower(), shape=shape, words=words)
    except pyogrio.errors.DataSourceError as error:
        raise InputError(f"{path}: {error} (wanted a GeoPackage)") from error


def _to_px(shapes: np.ndarray, crs: str | None, path: Path, raster: Raster) -> np.ndarray:
    located = raster.crs is not None
    known = bool(crs) and "undefined" not in str(crs).lower()
    if located != known:
        which = f"{path.name} has no coordinate system" if located else f"{raster.path} has no georeference"
        raise InputError(f"{path}: {which}, but the other has one (give both one, or neither)")
    if not located:
        return shapely.transform(shapes, lambda points: points * (1, -1))
    place = Georeference.of(raster)

    def to_px(points: np.ndarray) -> np.ndarray:
        if rasterio.CRS.from_user_input(crs) != rasterio.CRS.from_user_input(raster.crs):
            points = np.stack(rasterio.warp.transform(crs, raster.crs, *points.T), axis=1)
        return place.crs_to_px(points)

    return shapely.transform(shapes, to_px)


def draw_shapes(shapes: Iterable[tuple[BaseGeometry, int]], window_px: WindowPx) -> np.ndarray:
    """Fill shapes with their values, large before small; ``(H, W)`` uint8 of the window, 0 elsewhere."""
    x1, y1, x2, y2 = window_px
    ordered: list[Any] = sorted(shapes, key=lambda item: -item[0].area)
    if not ordered:
        return np.zeros((y2 - y1, x2 - x1), np.uint8)
    return rasterio.features.rasterize(
        ordered, out_shape=(y2 - y1, x2 - x1), transform=Affine.translation(x1, y1), dtype="uint8"
    )

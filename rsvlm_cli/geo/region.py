"""The part of a raster that a user asks for, as text."""

import math
from enum import StrEnum
from typing import Protocol

import numpy as np

from rsvlm_cli.errors import UsageError, WindowOutside
from rsvlm_cli.geo.georef import Georeference, Placed, box_ring, close_ring, densify
from rsvlm_cli.results import BoxPx


class RegionFrame(StrEnum):
    """In which coordinates a region is given; also the prefix of its text."""

    PX = "px"
    MAP = "map"
    LONLAT = "lonlat"


class Sized(Placed, Protocol):
    """A `Placed` raster of known size."""

    @property
    def width_px(self) -> int:
        """Number of columns."""

    @property
    def height_px(self) -> int:
        """Number of rows."""


def parse_region(text: str, raster: Sized) -> BoxPx:
    """Read a region and cut it at the raster's edge.

    Args:
        text: ``x1,y1,x2,y2`` in pixels, ``map:x1,y1,x2,y2`` in the raster's coordinate system, or
            ``lonlat:west,south,east,north`` in degrees. The corners may come in any order. A map or lonlat box becomes
            the smallest pixel box that holds it, its edges followed, not its corners alone.
        raster: a `Raster` or a `results.Source`.

    Returns:
        ``x1, y1, x2, y2`` in pixels, inside the raster.

    Raises:
        UsageError: if the text is no box, or the box is empty.
        NotGeoreferenced: if map coordinates are given for a raster that has none.
        WindowOutside: if the box shares no ground with the raster.
    """
    prefix, _, numbers = text.rpartition(":")
    try:
        frame = RegionFrame(prefix.strip().lower() or "px")
        corners = [float(part) for part in numbers.split(",")]
    except ValueError:
        corners = []
    if len(corners) != 4 or not all(map(math.isfinite, corners)):
        raise UsageError(f"region {text!r}: wanted x1,y1,x2,y2 in pixels, or the same after map: or lonlat:")
    box = _sorted_box(corners)
    if box[0] == box[2] or box[1] == box[3]:
        raise UsageError(f"region {text!r}: is empty (wanted two different corners)")
    if frame is not RegionFrame.PX:
        georeference = Georeference.of(raster)
        outline = densify(close_ring(box_ring(box)))
        points = georeference.crs_to_px(outline) if frame is RegionFrame.MAP else georeference.lonlat_to_px(outline)
        box = (*(float(v) for v in points.min(axis=0)), *(float(v) for v in points.max(axis=0)))  # type: ignore[assignment]
    return _cut(text, box, raster)


def _sorted_box(corners: list[float]) -> BoxPx:
    x1, y1, x2, y2 = corners
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _cut(text: str, box: BoxPx, raster: Sized) -> BoxPx:
    x1, y1 = max(0.0, box[0]), max(0.0, box[1])
    x2, y2 = min(float(raster.width_px), box[2]), min(float(raster.height_px), box[3])
    if x1 >= x2 or y1 >= y2:
        found = (
            f"{raster.path}: region {text} lies outside; the raster spans 0,0,{raster.width_px},{raster.height_px} px"
        )
        if raster.crs is not None and raster.transform is not None:
            georeference = Georeference.of(raster)
            outline = densify(close_ring(box_ring((0, 0, raster.width_px, raster.height_px))))
            bounds = georeference.px_to_crs(outline)
            found += " or map:" + ",".join(f"{v:.9g}" for v in np.concatenate([bounds.min(axis=0), bounds.max(axis=0)]))
        raise WindowOutside(found)
    return x1, y1, x2, y2

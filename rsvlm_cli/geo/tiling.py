"""Which windows of a raster to look at. All boxes are ``x1, y1, x2, y2`` in the raster's pixels."""

import math

from rsvlm_cli.results import BoxPx

OVERLAP_FRAC = 0.25
"""Of two neighbouring windows, at least; a thing smaller than that is whole in one of them."""


def plan_windows(area_px: BoxPx, tile_px: int) -> list[BoxPx]:
    """Cover an area with overlapping windows of one size, evenly spread, row by row; none reaches beyond it."""
    x1, y1, x2, y2 = area_px
    return [
        (x, y, x + min(tile_px, x2 - x1), y + min(tile_px, y2 - y1))
        for y in _starts(y1, y2, tile_px)
        for x in _starts(x1, x2, tile_px)
    ]


def _starts(low: float, high: float, tile_px: int) -> list[float]:
    room = high - low - tile_px
    if room <= 0:
        return [low]
    n = math.ceil(room / (tile_px * (1 - OVERLAP_FRAC)))
    return [low + round(room * k / n) for k in range(n + 1)]


def window_around(box_px: BoxPx, side_px: float, width_px: int, height_px: int) -> BoxPx:
    """Return the square window of a side around a box's centre, cut at the raster's edge, in whole pixels."""
    x1, y1, x2, y2 = box_px
    left, top = (x1 + x2 - side_px) / 2, (y1 + y2 - side_px) / 2
    return whole_pixels((max(left, 0), max(top, 0), min(left + side_px, width_px), min(top + side_px, height_px)))


def whole_pixels(box_px: BoxPx) -> BoxPx:
    """Widen a box to whole pixels."""
    x1, y1, x2, y2 = box_px
    return float(math.floor(x1)), float(math.floor(y1)), float(math.ceil(x2)), float(math.ceil(y2))

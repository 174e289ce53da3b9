"""A window cut into quarters, again and again: a tree over a scene. Boxes are ``x1, y1, x2, y2`` in raster pixels."""

from itertools import pairwise

from rsvlm_cli.results import BoxPx

MAX_ASPECT = 1.5
"""A window longer than this, of its shorter side, is cut across its length alone."""


def cut_quarters(box_px: BoxPx) -> list[BoxPx]:
    """Cut a box into four, or a long one into two, at whole pixels, row by row; the parts cover it once."""
    x1, y1, x2, y2 = box_px
    width, height = x2 - x1, y2 - y1
    columns = [x1, x2] if height > MAX_ASPECT * width else [x1, float(round((x1 + x2) / 2)), x2]
    rows = [y1, y2] if width > MAX_ASPECT * height else [y1, float(round((y1 + y2) / 2)), y2]
    return [(left, top, right, bottom) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]


def grow(box_px: BoxPx, frac: float, within_px: BoxPx) -> BoxPx:
    """Widen a box by a share of each side on every edge, to whole pixels, not beyond another box."""
    x1, y1, x2, y2 = box_px
    dx, dy = round((x2 - x1) * frac), round((y2 - y1) * frac)
    left, top, right, bottom = within_px
    return max(left, x1 - dx), max(top, y1 - dy), min(right, x2 + dx), min(bottom, y2 + dy)


def longest_side(box_px: BoxPx) -> float:
    """Return the longer of a box's sides."""
    return max(box_px[2] - box_px[0], box_px[3] - box_px[1])


def area_of(box_px: BoxPx) -> float:
    """Return a box's area in square pixels."""
    return (box_px[2] - box_px[0]) * (box_px[3] - box_px[1])

"""The boxes of overlapping windows of one raster, as one answer. Coordinates are the raster's pixels.

Where one of two boxes is turned, what they share is what their outlines share, not their upright hulls: ships side by
side at 45 degrees are two.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import shapely

from rsvlm_cli.results import Box, BoxPx
from rsvlm_cli.tasks.quads import hull_of, order_vertices

SAME_LABEL_IOU = 0.5
"""Two boxes of one label that overlap more are one thing. Source: the usual limit of detection benchmarks."""

OTHER_LABEL_IOU = 0.8
"""Two labels on all but the same box are one thing named twice."""

CONTAINED_FRAC = 0.8
"""A box of the same label that lies so far inside another is the part that a window's edge has cut off."""

CUT_CONTAINED_FRAC = 0.5
"""The same for a box that is known to be cut."""

CUT_FRAC = 0.015
"""A side so near its window's edge, as a share of the window, may go on beyond it; boxes come in hundredths."""

SAME_END_FRAC = 0.05
"""Parts of one thing end at one side of it where they differ by no more than this share of its length."""

LEFT, TOP, RIGHT, BOTTOM = range(4)


@dataclass(frozen=True, slots=True)
class SeenBox:
    """A box as a window saw it.

    Attributes:
        box: in the raster's pixels.
        cut: which of its sides, left, top, right, bottom, the window's edge may have cut.
        margin_px: how far its sides may lie from where they are seen, by rounding.
        turn: when it was seen; among equals, the earlier one comes first.
    """

    box: Box
    cut: tuple[bool, bool, bool, bool] = (False, False, False, False)
    margin_px: float = 0.0
    turn: int = 0

    @classmethod
    def of(cls, box: Box, window_px: BoxPx, raster_px: BoxPx) -> "SeenBox":
        """Return a window's box; where the window ends with the raster nothing is cut."""
        margin = CUT_FRAC * max(window_px[2] - window_px[0], window_px[3] - window_px[1])
        inwards = (1, 1, -1, -1)
        left, top, right, bottom = (
            inwards[k] * (box.box_px[k] - window_px[k]) <= margin and window_px[k] != raster_px[k] for k in range(4)
        )
        return cls(box, (left, top, right, bottom), margin)

    @property
    def is_sliver(self) -> bool:
        """Whether a window's edge left so little of it that its size is rounding; the neighbour sees more."""
        x1, y1, x2, y2 = self.box.box_px
        left, top, right, bottom = self.cut
        return ((left or right) and x2 - x1 <= 2 * self.margin_px) or (
            (top or bottom) and y2 - y1 <= 2 * self.margin_px
        )


class BoxMerger:
    """Merges boxes as windows pass, row by row: what no later window can touch is settled and done.

    First the parts of one thing that windows have cut are joined, and parts of a box that another window saw go; then,
    of boxes that name one thing, one stays: a whole one before a cut one, the best-scored before the others. Scores are
    kept; a joined box has its best part's. Where a part is turned, the joined box is the smallest turned rectangle
    around all parts' vertices.

    Args:
        across_labels: whether a thing has one label alone; phrases that a user gave may well name the same thing.
    """

    def __init__(self, *, across_labels: bool) -> None:
        self.across_labels = across_labels
        self._open: list[SeenBox] = []
        self._done: list[SeenBox] = []
        self._turns = count()

    def add(self, boxes: Iterable[SeenBox]) -> None:
        """Add a window's boxes."""
        self._open += [replace(seen, turn=next(self._turns)) for seen in boxes if not seen.is_sliver]

    def settle(self, top_px: float) -> None:
        """Decide on what lies above a line; no later box may reach above it."""
        if not self._open:
            return
        # A joined box may touch what none of its parts does.
        corners = np.concatenate([_corners(self._open), _corners(_join_cut(self._open))])
        group = _groups(len(corners), _touching(corners))
        lowest = np.full(len(corners), -np.inf)
        np.maximum.at(lowest, group, corners[:, 3])
        ready = (lowest[group] < top_px)[: len(self._open)]
        self._done += self._resolve([seen for seen, is_ready in zip(self._open, ready, strict=True) if is_ready])
        self._open = [seen for seen, is_ready in zip(self._open, ready, strict=True) if not is_ready]

    def finish(self) -> list[Box]:
        """Return all boxes, the best first."""
        self._done += self._resolve(self._open)
        self._open = []
        return [seen.box for seen in sorted(self._done, key=lambda seen: (-(seen.box.score or 0.0), seen.turn))]

    def _resolve(self, boxes: list[SeenBox]) -> list[SeenBox]:
        joined = sorted(
            _without_parts(_join_cut(boxes)), key=lambda seen: (any(seen.cut), -(seen.box.score or 0.0), seen.turn)
        )
        corners, alive = _corners(joined), np.ones(len(joined), bool)
        beaten: defaultdict[int, list[int]] = defaultdict(list)
        for winner, loser in _repeated(joined, corners, across_labels=self.across_labels).tolist():
            beaten[winner].append(loser)
        for k in range(len(joined)):
            if alive[k]:
                alive[beaten[k]] = False
        return [seen for seen, is_alive in zip(joined, alive, strict=True) if is_alive]


def suppress_repeated(boxes: Sequence[Box], *, across_labels: bool) -> list[Box]:
    """Keep one of the boxes that name one thing; as `BoxMerger`, for boxes of which none is cut."""
    merger = BoxMerger(across_labels=across_labels)
    merger.add(SeenBox(box) for box in boxes)
    return merger.finish()


def _corners(boxes: Sequence[SeenBox]) -> np.ndarray:
    return np.array([seen.box.box_px for seen in boxes], float).reshape(-1, 4)


def _touching(corners: np.ndarray) -> np.ndarray:
    """Return ``(n, 2)`` int, each pair of boxes that share a point, once, the first index the smaller."""
    shapes = shapely.box(*corners.T)
    pairs = shapely.STRtree(shapes).query(shapes, predicate="intersects").T
    once: np.ndarray = pairs[pairs[:, 0] < pairs[:, 1]]
    return once


def _groups(n: int, pairs: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` int: the smallest index that each is connected with."""
    group = np.arange(n)
    while True:
        before = group.copy()
        low = np.minimum(group[pairs[:, 0]], group[pairs[:, 1]])
        np.minimum.at(group, pairs[:, 0], low)
        np.minimum.at(group, pairs[:, 1], low)
        group = group[group]
        if (group == before).all():
            return group


def _join_cut(boxes: list[SeenBox]) -> list[SeenBox]:
    """Replace the parts of a thing that neighbouring windows have cut by the box around them."""
    cut = [k for k, seen in enumerate(boxes) if any(seen.cut)]
    if len(cut) < 2:
        return list(boxes)
    parts = [boxes[k] for k in cut]
    corners = _corners(parts)
    pairs = _touching(corners)
    pairs = pairs[[_continue(parts[i], parts[j]) or _continue(parts[j], parts[i]) for i, j in pairs.tolist()]]
    group = _groups(len(parts), pairs)
    members: defaultdict[int, list[SeenBox]] = defaultdict(list)
    for seen, of in zip(parts, group.tolist(), strict=True):
        members[of].append(seen)
    whole = [seen for seen in boxes if not any(seen.cut)]
    return whole + [_around(group_members) for group_members in members.values()]


def _continue(a: SeenBox, b: SeenBox) -> bool:
    """Say whether B goes on where A is cut, to the right of it or below, at the same height or width.

    Of turned ones, whether most of what one shows where both reach is what the other shows there.
    """
    if a.box.label != b.box.label:
        return False
    for near, far, other in ((LEFT, RIGHT, (TOP, BOTTOM)), (TOP, BOTTOM, (LEFT, RIGHT))):
        if not (a.cut[far] and b.cut[near]):
            continue
        p, q = a.box.box_px, b.box.box_px
        if not (p[far] < q[far] and q[near] < p[far]):
            continue
        if a.box.quad_px or b.box.quad_px:
            shared, spanned = _strip_areas(a.box, b.box, near)
        else:
            shared = min(p[other[1]], q[other[1]]) - max(p[other[0]], q[other[0]])
            spanned = max(p[other[1]], q[other[1]]) - min(p[other[0]], q[other[0]])
        if shared > SAME_LABEL_IOU * spanned:
            return True
    return False


def _strip_areas(a: Box, b: Box, axis: int) -> tuple[float, float]:
    """Return intersection and union of two outlines in the strip where both reach, from where B begins to A's end."""
    corners = np.array([a.box_px, b.box_px])
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    low[axis], high[axis] = b.box_px[axis], a.box_px[axis + 2]
    p, q = shapely.intersection(shapely.polygons([a.outline_px, b.outline_px]), shapely.box(*low, *high))
    return shapely.area(shapely.intersection(p, q)), shapely.area(shapely.union(p, q))


def _around(parts: list[SeenBox]) -> SeenBox:
    """Return the box around parts of one thing; a side of it is cut if all parts that end there are."""
    if len(parts) == 1:
        return parts[0]
    corners = _corners(parts)
    sides = np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])
    ends_there = np.abs(corners - sides) <= SAME_END_FRAC * np.tile(sides[2:] - sides[:2], 2)
    left, top, right, bottom = (~ends_there | np.array([seen.cut for seen in parts])).all(axis=0).tolist()
    x1, y1, x2, y2 = sides.tolist()
    best = max(parts, key=lambda seen: seen.box.score or 0.0)
    first = min(seen.turn for seen in parts)
    margin_px = max(seen.margin_px for seen in parts)
    joined = replace(best.box, box_px=(x1, y1, x2, y2), quad_px=None)
    if _is_turned(parts).any():
        vertices = shapely.MultiPoint([vertex for seen in parts for vertex in seen.box.outline_px])
        ring = shapely.get_coordinates(vertices.minimum_rotated_rectangle)[:4]
        quad_px = order_vertices(ring.round(3))
        joined = replace(joined, box_px=hull_of(quad_px), quad_px=quad_px)
    return SeenBox(joined, (left, top, right, bottom), margin_px, first)


def _without_parts(boxes: list[SeenBox]) -> list[SeenBox]:
    """Leave out each cut box that is a part of another one: inside it, and ending with it wherever it is not cut.

    Where one is turned, that it is inside is enough: an edge that cuts at an angle moves ends that it does not touch.
    """
    corners = _corners(boxes)
    pairs = _touching(corners)
    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    part, whole = corners[both_ways[:, 0]], corners[both_ways[:, 1]]
    cut = np.array([seen.cut for seen in boxes], bool).reshape(-1, 4)[both_ways[:, 0]]
    margin = np.array([seen.margin_px for seen in boxes], float)[both_ways[:, 0]]
    sides = np.tile(whole[:, 2:] - whole[:, :2], 2)
    ends_with_it = (cut | (np.abs(part - whole) <= SAME_END_FRAC * sides + margin[:, None])).all(axis=1)
    ends_with_it |= _is_turned(boxes)[both_ways].any(axis=1)
    shared, area, area_whole = _areas(boxes, corners, both_ways)
    labels = np.array([seen.box.label for seen in boxes], object)
    same = labels[both_ways[:, 0]] == labels[both_ways[:, 1]]
    is_part = same & cut.any(axis=1) & ends_with_it & (shared > CUT_CONTAINED_FRAC * area) & (area_whole > area)
    gone = set(both_ways[is_part, 0].tolist())
    return [seen for k, seen in enumerate(boxes) if k not in gone]


def _repeated(boxes: Sequence[SeenBox], corners: np.ndarray, *, across_labels: bool) -> np.ndarray:
    """Return ``(n, 2)`` int, each pair of boxes that name one thing, the one that stays first."""
    pairs = _touching(corners)
    shared, area_a, area_b = _areas(boxes, corners, pairs)
    iou = shared / np.maximum(area_a + area_b - shared, 1e-9)
    contained = shared / np.maximum(np.minimum(area_a, area_b), 1e-9) > CONTAINED_FRAC
    labels = np.array([seen.box.label for seen in boxes])
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]] if len(pairs) else np.zeros(0, bool)
    one_thing = np.where(same, (iou > SAME_LABEL_IOU) | contained, across_labels & (iou > OTHER_LABEL_IOU))
    chosen: np.ndarray = pairs[one_thing]
    # A winner is looked at before those it beats, so pairs come in the order of the better one.
    return chosen[np.lexsort((chosen[:, 1], chosen[:, 0]))]


def _areas(
    boxes: Sequence[SeenBox], corners: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of pairs what the two share, the first one's area and the second one's, ``(n,)`` each, square pixels."""
    a, b = corners[pairs[:, 0]], corners[pairs[:, 1]]
    shared = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(axis=1)
    area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    is_turned = _is_turned(boxes)
    if is_turned.any():
        shapes = shapely.polygons([seen.box.outline_px for seen in boxes])
        area[is_turned] = shapely.area(shapes[is_turned])
        either = is_turned[pairs].any(axis=1)
        shared[either] = shapely.area(shapely.intersection(*shapes[pairs[either]].T))
    return shared, area[pairs[:, 0]], area[pairs[:, 1]]


def _is_turned(boxes: Sequence[SeenBox]) -> np.ndarray:
    return np.array([seen.box.quad_px is not None for seen in boxes], bool)

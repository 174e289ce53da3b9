"""What several overlapping windows of one raster say, as one answer. Coordinates are the raster's pixels.

Axes: N boxes, L labels, R rows and Q columns of the mosaic's cells, g cells on each side of one window's mask.
"""

import numpy as np

from rsvlm_cli.results import Box, BoxPx, Mask

SAME_LABEL_IOU = 0.5
"""Two boxes of one label that overlap more are one thing. Source: the usual limit of detection benchmarks."""

OTHER_LABEL_IOU = 0.8
"""Two labels on all but the same box are one thing named twice."""

CONTAINED_FRAC = 0.8
"""A box of the same label that lies so far inside another is the part that a window's edge has cut off."""

NO_DATA = 255
EDGE_WEIGHT = 0.05
"""Of a window's outermost cells beside its centre's: the model sees less around them."""


def suppress_repeated(boxes: list[Box], *, across_labels: bool) -> list[Box]:
    """Keep the best-scored of boxes that name one thing; the rest keep their scores and come best first.

    Args:
        boxes: of all windows.
        across_labels: whether a thing has one label alone; phrases that a user gave may well name the same thing.
    """
    order = sorted(range(len(boxes)), key=lambda k: -(boxes[k].score or 0.0))
    corners = np.array([boxes[k].box_px for k in order], float).reshape(-1, 4)
    labels = np.array([boxes[k].label for k in order])
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    alive = np.ones(len(order), bool)
    for k in range(len(order)):
        if not alive[k]:
            continue
        low = np.maximum(corners[k, :2], corners[k + 1 :, :2])
        high = np.minimum(corners[k, 2:], corners[k + 1 :, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        iou = shared / (area[k] + area[k + 1 :] - shared)
        same = labels[k + 1 :] == labels[k]
        contained = shared / np.minimum(area[k], area[k + 1 :]) > CONTAINED_FRAC
        alive[k + 1 :] &= ~np.where(same, (iou > SAME_LABEL_IOU) | contained, across_labels & (iou > OTHER_LABEL_IOU))
    return [boxes[order[k]] for k in np.flatnonzero(alive)]


class Mosaic:
    """One grid of cells over an area, filled from the masks of windows.

    Where windows overlap, a cell is the mean of what they say, weighted towards the window whose centre is nearer, so
    that no seam shows. Memory is ``4 (L + 1) R Q`` bytes, whatever the number of windows.

    Args:
        labels: one layer each.
        area_px: what the grid spans.
        shape_cells: R, Q.
    """

    def __init__(self, labels: tuple[str, ...], area_px: BoxPx, shape_cells: tuple[int, int]) -> None:
        self.labels, self.area_px = labels, area_px
        self._sum = np.zeros((len(labels), *shape_cells), np.float32)
        self._weight = np.zeros(shape_cells, np.float32)

    def add(self, window_px: BoxPx, p_set: np.ndarray, valid: np.ndarray) -> None:
        """Add one window.

        Args:
            window_px: the part of the raster it shows.
            p_set: ``(L, g, g)``, the probability that a cell is of the label.
            valid: ``(g, g)`` bool, where the window holds data.
        """
        rows, columns = self._weight.shape
        at_y, from_y, weight_y = _cells_in(self.area_px[1::2], rows, window_px[1::2], p_set.shape[1])
        at_x, from_x, weight_x = _cells_in(self.area_px[0::2], columns, window_px[0::2], p_set.shape[2])
        weight = np.outer(weight_y, weight_x) * valid[np.ix_(from_y, from_x)]
        self._sum[:, at_y, at_x] += weight * p_set[:, from_y][:, :, from_x]
        self._weight[at_y, at_x] += weight

    def finish(self, threshold: float, score_method: str) -> Mask:
        """Return the mask: each cell's most probable label where that reaches the threshold, else background."""
        known = self._weight > 0
        p_set = self._sum / np.where(known, self._weight, 1)
        best, top = p_set.argmax(axis=0), p_set.max(axis=0)
        cells = np.where(top >= threshold, best + 1, 0).astype(np.uint8)
        cells[~known] = NO_DATA
        probability = np.where(cells == 0, 1 - top, top).astype(np.float32)
        return Mask(
            labels=self.labels,
            cells=cells,
            area_px=self.area_px,
            probability=np.where(known, probability, 0).astype(np.float32),
            score_method=score_method,
        )


def _cells_in(
    area: tuple[float, ...], n_cells: int, window: tuple[float, ...], n_window_cells: int
) -> tuple[slice, np.ndarray, np.ndarray]:
    """Return, along one axis, the mosaic's cells with their centre in a window, their cell in it, and their weight."""
    size = (area[1] - area[0]) / n_cells
    centres = area[0] + (np.arange(n_cells) + 0.5) * size
    inside = np.flatnonzero((centres > window[0]) & (centres < window[1]))
    share = (centres[inside] - window[0]) / (window[1] - window[0])
    weight = np.maximum(1 - np.abs(2 * share - 1), EDGE_WEIGHT)
    return slice(int(inside[0]), int(inside[-1]) + 1), (share * n_window_cells).astype(int), weight.astype(np.float32)

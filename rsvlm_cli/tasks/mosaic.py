"""The masks of overlapping windows of one raster, as one mask, in bounded memory.

Windows vote on the cells they share; a vote counts more the nearer a cell is to its window's centre, so that no seam
shows. A strip as high as one window is in memory; what no later window can reach is written to a file without a name.

Axes: L labels, R rows and Q columns of the mosaic's cells, g cells on each side of a window.
"""

import tempfile
from pathlib import Path

import numpy as np

from rsvlm_cli.results import BoxPx, Mask

NO_DATA = 255
EDGE_WEIGHT = 0.05
"""Of a window's outermost rows and columns, and of all that a coarser mosaic says, beside a window's centre."""

LEVELS = 2**16 - 2
"""Steps of a stored probability; stored is one more, and 0 is unknown."""

STRIP_CELLS = 256

LEAST_THRESHOLD = 1e-6
"""At a threshold of 0 the most probable label is taken."""


def to_levels(p: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return probabilities in [0, 1] as stored, uint16; 0 where not known."""
    return np.where(known, np.rint(p * LEVELS) + 1, 0).astype(np.uint16)


def from_levels(levels: np.ndarray) -> np.ndarray:
    """Return stored probabilities, float32; unknown ones are 0."""
    p: np.ndarray = (levels.clip(1) - 1).astype(np.float32) / np.float32(LEVELS)
    return p


def scratch(shape: tuple[int, ...], dtype: type, folder: Path | None = None) -> np.ndarray:
    """Return an array of zeros in a file that nobody else sees and that goes when the array does."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=shape)


class Mosaic:
    """One grid of cells, filled window by window from the top.

    Args:
        labels: one layer each.
        grid: g.
        origin: row and column of the mosaic's first cell, where windows count theirs.
        shape: R, Q.
        coarser: ``(L, R / 2, Q / 2)`` uint16 as `to_levels`, what half as many cells say, heard where windows are few.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        grid: int,
        origin: tuple[int, int],
        shape: tuple[int, int],
        coarser: np.ndarray | None = None,
    ) -> None:
        self.labels, self.grid, self.origin, self.coarser = labels, grid, origin, coarser
        self.levels = scratch((len(labels), *shape), np.uint16)
        self._top = origin[0]
        self._sum = np.zeros((len(labels), grid, shape[1] + 2 * grid), np.float32)
        self._weight = np.zeros((grid, shape[1] + 2 * grid), np.float32)
        share = (np.arange(grid) + 0.5) / grid
        centred = np.maximum(1 - np.abs(2 * share - 1), EDGE_WEIGHT).astype(np.float32)
        self._vote = np.outer(centred, centred)

    def add(self, row: int, column: int, p_set: np.ndarray, valid: np.ndarray) -> None:
        """Add one window; none begins above the one before it, and what lies outside the mosaic is left out.

        Args:
            row: of its first cell.
            column: of its first cell.
            p_set: ``(L, g, g)``, the probability that a cell is of the label.
            valid: ``(g, g)`` bool, where the window holds data.
        """
        self._settle(max(row, self._top))
        skip = self._top - row if row < self._top else 0
        columns = slice(column - self.origin[1] + self.grid, column - self.origin[1] + 2 * self.grid)
        vote = (self._vote * valid)[skip:]
        self._sum[:, : self.grid - skip, columns] += vote * p_set[:, skip:]
        self._weight[: self.grid - skip, columns] += vote

    def finish(self) -> np.ndarray:
        """Return ``(L, R, Q)`` uint16 as `to_levels`."""
        self._settle(self.origin[0] + self.levels.shape[1])
        return self.levels

    def _settle(self, top: int) -> None:
        """Write the rows above ``top`` and move the strip there."""
        while self._top < top:
            n = min(self.grid, top - self._top)
            first = self._top - self.origin[0]
            inner = slice(self.grid, self.grid + self.levels.shape[2])
            rows = slice(first, min(first + n, self.levels.shape[1]))
            height = rows.stop - rows.start
            total, weight = self._sum[:, :height, inner], self._weight[:height, inner]
            if self.coarser is not None:
                total, weight = self._hear_coarser(rows, total, weight)
            self.levels[:, rows] = to_levels(total / np.where(weight > 0, weight, 1), weight > 0)
            self._top += n
            for strip in (self._sum, self._weight):
                strip[..., : self.grid - n, :] = strip[..., n:, :].copy()
                strip[..., self.grid - n :, :] = 0

    def _hear_coarser(self, rows: slice, total: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self.coarser is not None
        at = (np.arange(rows.start, rows.stop) // 2)[:, None], (np.arange(self.levels.shape[2]) // 2)[None]
        said = self.coarser[:, at[0], at[1]]
        heard = EDGE_WEIGHT * (said[0] > 0)
        return total + heard * from_levels(said), weight + heard


def decide(levels: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each cell's value and its probability, ``(R, Q)`` uint8 and float32.

    The value is the label's whose probability is most times its threshold, where that is reached, else background;
    `NO_DATA` where unknown.

    Args:
        levels: ``(L, R, Q)`` uint16.
        thresholds: ``(L,)`` in [0, 1].
    """
    p_set, known = from_levels(levels), levels[0] > 0
    times = p_set / thresholds.clip(LEAST_THRESHOLD)[:, None, None]
    best = times.argmax(axis=0)
    p_best = np.take_along_axis(p_set, best[None], 0)[0]
    cells = np.where(np.take_along_axis(times, best[None], 0)[0] >= 1, best + 1, 0).astype(np.uint8)
    probability = np.where(known, np.where(cells == 0, 1 - p_set.max(axis=0), p_best), 0).astype(np.float32)
    cells[~known] = NO_DATA
    return cells, probability


def finish_mask(
    labels: tuple[str, ...], levels: np.ndarray, area_px: BoxPx, thresholds: np.ndarray, score_method: str
) -> Mask:
    """Return the mask that a finished mosaic holds; its arrays lie in files, however large it is."""
    shape = levels.shape[1:]
    cells, probability = scratch(shape, np.uint8), scratch(shape, np.float32)
    for top in range(0, shape[0], STRIP_CELLS):
        rows = slice(top, top + STRIP_CELLS)
        cells[rows], probability[rows] = decide(levels[:, rows], thresholds)
    return Mask(labels=labels, cells=cells, area_px=area_px, probability=probability, score_method=score_method)

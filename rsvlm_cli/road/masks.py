"""Masks of a scene of any size: windows vote cell by cell, and borders are looked at again, closer.

Axes: L labels, R rows and Q columns of cells, g cells on each side of a window.
"""

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rsvlm_cli.geo.tiling import Cells, Lattice, Place
from rsvlm_cli.results import Mask
from rsvlm_cli.road.reading import read_mask
from rsvlm_cli.road.scale import count_halvings
from rsvlm_cli.road.sweep import Look, Sweep
from rsvlm_cli.scene import View
from rsvlm_cli.tasks import detect_change, segment
from rsvlm_cli.tasks.mosaic import NO_DATA, Mosaic, decide, finish_mask, from_levels, to_levels

TASKS = {"segment": segment, "detect-change": detect_change}


@dataclass(frozen=True, slots=True)
class ReadMasks:
    """Asks a window for the mask of each label; gives ``[levels, score_method]``.

    The levels are ``(L, g, g)`` uint16 as `tasks.mosaic.to_levels`, little-endian, deflated, in base 64.
    """

    task: Literal["segment", "detect-change"]
    labels: tuple[str, ...]

    def __call__(self, view: View) -> list[str]:
        """Ask one window."""
        found = [read_mask(view, TASKS[self.task], label) for label in self.labels]
        p_set = np.stack([mask.p_set for mask in found])
        levels = to_levels(p_set, valid_cells(view, view.scene.mask_grid)).astype("<u2")
        return [base64.b64encode(zlib.compress(levels.tobytes(), 6)).decode(), found[0].score_method]


def valid_cells(view: View, grid: int) -> np.ndarray:
    """Return ``(grid, grid)`` bool: where every date holds data, seen at the cells' centres."""
    valid = np.ones((grid, grid), bool)
    for chip in view.chips:
        rows, columns = (((np.arange(grid) + 0.5) / grid * side).astype(int) for side in chip.valid.shape)
        valid &= chip.valid[np.ix_(rows, columns)]
    return valid


def sweep_mask(sweep: Sweep, lattice: Lattice, labels: tuple[str, ...]) -> Mask:
    """Return the mask of the part asked for, its cells as fine as was asked for.

    Args:
        sweep: whose work is `ReadMasks`.
        lattice: the windows of the first look.
        labels: of the mask.
    """
    scene = sweep.scene
    task = "segment" if len(scene.rasters) == 1 else "detect-change"
    thresholds = np.array(scene.settings.thresholds(scene.quality, task, labels))
    cells, levels, method = lattice.cells_in(scene.window_px), None, ""
    for n_halvings in range(count_halvings(scene, lattice) + 1):
        finer = lattice.finer(n_halvings)
        if levels is None:
            places = finer.places(cells)
        else:
            places, cells = border_places(finer, cells, levels, thresholds), _halved(cells)
        mosaic = Mosaic(labels, lattice.grid, (cells.top, cells.left), cells.shape, levels)
        for look in sweep.looks(finer, places):
            if look.found is not None:
                method = look.found[1]
                p_set, valid = _unpack(look, len(labels), lattice.grid, sweep)
                mosaic.add(look.place.row, look.place.column, p_set, valid)
        scene.require_seen()
        levels = mosaic.finish()
    assert levels is not None
    return finish_mask(labels, levels, finer.box_px(cells), thresholds, method)


def border_places(finer: Lattice, coarse: Cells, levels: np.ndarray, thresholds: np.ndarray) -> Iterator[Place]:
    """Yield the windows of a finer lattice in whose core, or a coarse cell beside it, the class changes.

    Args:
        finer: with cells half as large as those of the levels.
        coarse: the cells that the levels span.
        levels: ``(L, R, Q)`` uint16.
        thresholds: ``(L,)``, from which a cell is of each label.
    """
    for place in finer.places(_halved(coarse)):
        core = finer.core(place)
        rows = slice(max(0, core.top // 2 - 1 - coarse.top), max(0, -(-core.bottom // 2) + 1 - coarse.top))
        columns = slice(max(0, core.left // 2 - 1 - coarse.left), max(0, -(-core.right // 2) + 1 - coarse.left))
        cells = decide(levels[:, rows, columns], thresholds)[0]
        if len(np.unique(cells[cells != NO_DATA])) > 1:
            yield place


def _halved(cells: Cells) -> Cells:
    return Cells(2 * cells.top, 2 * cells.left, 2 * cells.bottom, 2 * cells.right)


def _unpack(look: Look, n_labels: int, grid: int, sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(L, g, g)`` float32 in [0, 1] and ``(g, g)`` bool, false outside the area of interest."""
    packed: Any = look.found
    levels = np.frombuffer(zlib.decompress(base64.b64decode(packed[0])), "<u2").reshape(n_labels, grid, grid)
    valid = levels[0] > 0
    if sweep.scene.aoi is not None:
        valid = valid & sweep.scene.aoi.cells(look.window_px, (grid, grid))
    return from_levels(levels), valid

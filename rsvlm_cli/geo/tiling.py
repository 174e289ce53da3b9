"""Which windows of a raster to look at. All boxes are ``x1, y1, x2, y2`` in the raster's pixels.

Windows and cells lie on a lattice that the raster alone fixes, its size and the side of a window; a part that is asked
for chooses among them. So what is found at a place does not depend on which part was asked for.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from rsvlm_cli.results import BoxPx

OVERLAP_FRAC = 0.25
"""Of two neighbouring windows, at least, to the nearest cell; a thing smaller than that is whole in one of them."""


@dataclass(frozen=True, slots=True)
class Place:
    """One window of a lattice: the row and the column of its first cell."""

    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Cells:
    """A rectangle of a lattice's cells, rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Equal cells over an area, and windows of ``grid`` x ``grid`` of them, evenly spread, none beyond the area.

    A window is a tile's side long, to within a cell; one larger than the area is cut to it, cells and all.

    Attributes:
        area_px: what it spans: the whole raster, or the only window.
        grid: cells on each side of a window.
        shape_cells: rows and columns of all cells.
    """

    area_px: BoxPx
    grid: int
    shape_cells: tuple[int, int]

    @classmethod
    def over(cls, area_px: BoxPx, tile_px: float | None, grid: int) -> "Lattice":
        """Return the lattice with windows of about ``tile_px``; None makes the area one window."""
        x1, y1, x2, y2 = area_px
        rows, columns = (
            grid if tile_px is None else max(grid, math.ceil(round(side * grid / tile_px, 6)))
            for side in (y2 - y1, x2 - x1)
        )
        return cls(area_px=area_px, grid=grid, shape_cells=(rows, columns))

    def finer(self, n_halvings: int) -> "Lattice":
        """Return the lattice whose cells and windows are halved so often; its cells nest in these."""
        rows, columns = self.shape_cells
        return Lattice(area_px=self.area_px, grid=self.grid, shape_cells=(rows << n_halvings, columns << n_halvings))

    @property
    def cell_px(self) -> tuple[float, float]:
        """Width and height of a cell."""
        x1, y1, x2, y2 = self.area_px
        return (x2 - x1) / self.shape_cells[1], (y2 - y1) / self.shape_cells[0]

    @property
    def tile_px(self) -> float:
        """Side of a window, the longer one."""
        return self.grid * max(self.cell_px)

    def cells_in(self, area_px: BoxPx) -> Cells:
        """Return the cells that share ground with a part of the area."""
        (left, right), (top, bottom) = (
            (
                max(0, math.floor(round((area_px[k] - self.area_px[k]) / cell, 6))),
                min(n, math.ceil(round((area_px[k + 2] - self.area_px[k]) / cell, 6))),
            )
            for k, cell, n in zip((0, 1), self.cell_px, self.shape_cells[::-1], strict=True)
        )
        return Cells(top, left, bottom, right)

    def box_px(self, cells: Cells) -> BoxPx:
        """Return the box of a rectangle of cells."""
        (x, y), (width, height) = self.area_px[:2], self.cell_px
        return x + cells.left * width, y + cells.top * height, x + cells.right * width, y + cells.bottom * height

    def window_px(self, place: Place) -> BoxPx:
        """Return a window in whole pixels."""
        cells = Cells(place.row, place.column, place.row + self.grid, place.column + self.grid)
        x1, y1, x2, y2 = (float(round(v)) for v in self.box_px(cells))
        return x1, y1, x2, y2

    def places(self, within: Cells) -> Iterator[Place]:
        """Yield the windows that share cells with a rectangle, row by row."""
        for row in _starts(self.shape_cells[0], self.grid):
            if row < within.bottom and row + self.grid > within.top:
                for column in _starts(self.shape_cells[1], self.grid):
                    if column < within.right and column + self.grid > within.left:
                        yield Place(row, column)

    def core(self, place: Place) -> Cells:
        """Return the cells that are nearer to this window's centre than to any other's; cores cover all, once."""
        (top, bottom), (left, right) = (
            _cores(n_cells, self.grid)[start]
            for start, n_cells in zip((place.row, place.column), self.shape_cells, strict=True)
        )
        return Cells(top, left, bottom, right)


@lru_cache(maxsize=64)
def _starts(n_cells: int, grid: int) -> tuple[int, ...]:
    """Return the first cell of each window along one axis."""
    room = n_cells - grid
    n = math.ceil(room / max(1, round(grid * (1 - OVERLAP_FRAC))))
    return tuple(round(room * k / n) for k in range(n + 1)) if n else (0,)


@lru_cache(maxsize=64)
def _cores(n_cells: int, grid: int) -> dict[int, tuple[int, int]]:
    """Return, by its first cell, from where to where a window is the nearest of its row or column."""
    starts = _starts(n_cells, grid)
    middles = [0, *((a + b + grid) // 2 for a, b in pairwise(starts)), n_cells]
    return dict(zip(starts, pairwise(middles), strict=True))


def window_around(box_px: BoxPx, side_px: float, width_px: int, height_px: int) -> BoxPx:
    """Return the square window of a side around a box's centre, cut at the raster's edge, in whole pixels."""
    x1, y1, x2, y2 = box_px
    left, top = (x1 + x2 - side_px) / 2, (y1 + y2 - side_px) / 2
    return whole_pixels((max(left, 0), max(top, 0), min(left + side_px, width_px), min(top + side_px, height_px)))


def whole_pixels(box_px: BoxPx) -> BoxPx:
    """Widen a box to whole pixels."""
    x1, y1, x2, y2 = box_px
    return float(math.floor(x1)), float(math.floor(y1)), float(math.ceil(x2)), float(math.ceil(y2))

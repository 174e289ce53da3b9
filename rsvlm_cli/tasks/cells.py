"""Reading a picture cell by cell: the one law of masks and boxes that are read, shared by training and runtime.

A family that writes a mask says it token after token, and each token sees the one before it better than the picture. A
family that reads (`MaskStyle.CELLS`, `BoxStyle.REACH`) is fed each visual token once more after the question, and what
the decoder says there is the answer for that place (docs/adr/0006):

Masks
    at visual token k one of the 16 `QUADRANTS`, the shape of its 2 x 2 cells. Of two dates, the difference of the two
    visual tokens is fed.
Boxes
    the mask of a thing's core, and from a cell of it the reach to each side of the box: the visual token is fed with a
    mark for the cell within its block and one for the side, and answers with a number.

Axes: P visual tokens, G = 2 sqrt(P) cells a side, K things.
"""

import numpy as np

from rsvlm_cli.tasks.grammar import QUADRANTS, BoxFrac

BLOCKS = tuple(QUADRANTS)
"""What a visual token can say of its four cells."""

CORNER_MARKS = "▘▝▖▗"
"""Upper left, upper right, lower left, lower right cell of a block."""

SIDE_MARKS = "▌▀▐▄"
"""Left, top, right, bottom side of a box."""

REACHES = tuple(str(n) for n in range(101))
"""Number n: a side lies ``n - REACH_ZERO`` hundredths of the picture's side outwards from the cell's centre."""

REACH_ZERO = 5
"""A box smaller than a cell may lie beside the cell's centre, so a reach may be negative."""

CORE_FRAC = 0.5
"""A thing's core is the inner half of its box, and its centre's cell. Source: centre sampling, arXiv:1904.01355."""

_SETS_CELL = np.array([[(index >> bit) & 1 for bit in range(4)] for index in range(16)], np.float32)
"""``(16, 4)``: whether shape i sets the upper left, upper right, lower left, lower right cell."""


def blocks_of(cells: np.ndarray) -> np.ndarray:
    """Return ``(P,)`` int64, the index of each block's shape, or -1 where a cell of it is unknown.

    Args:
        cells: ``(G, G)`` int8: 1 set, 0 not set, -1 unknown.
    """
    corners = np.stack([cells[0::2, 0::2], cells[0::2, 1::2], cells[1::2, 0::2], cells[1::2, 1::2]], -1).reshape(-1, 4)
    index = (corners.clip(0).astype(np.int64) * (1, 2, 4, 8)).sum(1)
    return np.where((corners < 0).any(1), -1, index)


def format_blocks(index: np.ndarray) -> str:
    """Draw what the blocks ``(P,)`` say, line by line."""
    side = round(len(index) ** 0.5)
    return "\n".join("".join(BLOCKS[i] for i in line) for line in index.reshape(side, side))


def cells_set(p_block: np.ndarray) -> np.ndarray:
    """Return ``(G, G)`` float32 in [0, 1], the probability that each cell is set.

    Args:
        p_block: ``(P, 16)``, each row the distribution over a block's shapes.
    """
    side = round(len(p_block) ** 0.5)
    p_cell: np.ndarray = p_block.astype(np.float32) @ _SETS_CELL
    return p_cell.reshape(side, side, 2, 2).transpose(0, 2, 1, 3).reshape(2 * side, 2 * side)


def core_of(box: BoxFrac, grid: int) -> np.ndarray:
    """Return ``(K, 2)`` int64, row and column of the cells of a thing's core, that of its centre first."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    own = (min(int(y * grid), grid - 1), min(int(x * grid), grid - 1))
    centres = (np.arange(grid) + 0.5) / grid
    rows = np.flatnonzero(np.abs(centres - y) < CORE_FRAC / 2 * (box[3] - box[1])).tolist()
    columns = np.flatnonzero(np.abs(centres - x) < CORE_FRAC / 2 * (box[2] - box[0])).tolist()
    return np.array([own, *((r, c) for r in rows for c in columns if (r, c) != own)], np.int64)


def spot_of(row: int, column: int, grid: int) -> tuple[int, str]:
    """Return the visual token of a cell, and the mark of the cell within it."""
    return (row // 2) * (grid // 2) + column // 2, CORNER_MARKS[2 * (row % 2) + column % 2]


def reach_of(box: BoxFrac, row: int, column: int, grid: int) -> np.ndarray:
    """Return ``(4,)`` float64 in [0, 100]: what `REACHES` a cell should say of a box's sides, fractions included."""
    x, y = (column + 0.5) / grid, (row + 0.5) / grid
    reach = 100 * np.array([x - box[0], y - box[1], box[2] - x, box[3] - y]) + REACH_ZERO
    return reach.clip(0, 100)


def box_at(row: int, column: int, grid: int, p_reach: np.ndarray) -> BoxFrac:
    """Return the box that a cell speaks of, within the picture; the inverse of `reach_of`.

    Args:
        row: of the cell.
        column: of the cell.
        grid: cells a side.
        p_reach: ``(4, 101)``, for each side the distribution over `REACHES`; its mean is taken, as in Generalized Focal
            Loss, arXiv:2006.04388.
    """
    left, top, right, bottom = (p_reach @ np.arange(101) - REACH_ZERO) / 100
    x, y, least = (column + 0.5) / grid, (row + 0.5) / grid, 0.25 / grid
    x1, y1 = min(max(x - left, 0.0), 1 - least), min(max(y - top, 0.0), 1 - least)
    return x1, y1, max(min(x + right, 1.0), x1 + least), max(min(y + bottom, 1.0), y1 + least)

"""What the vision tower's own heads say of the scenes and the objects they know, without a prompt.

A small tower knows them better than a small decoder can say what it sees (docs/adr/0018). A model with heads answers
with them where they know the word that is asked for, and with its decoder everywhere else.

Axes: P visual tokens, G = 2 sqrt(P) cells a side, L labels.
"""

import numpy as np

from rsvlm_cli.tasks.exchange import FoundBox
from rsvlm_cli.tasks.grammar import BoxFrac

LEAST_CENTRE = 0.03
"""Cells less probable than this are no object's centre for anybody."""

PROMPT = "[HEAD] {label}"
"""Stands for a prompt where a head was asked."""


def to_cells(values: np.ndarray) -> np.ndarray:
    """Spread ``(P, 4 L)`` over cells, ``(L, G, G)``: a token's values are label by label within its 2 x 2 cells."""
    side = round(len(values) ** 0.5)
    cells = values.reshape(side, side, 2, 2, -1)
    return cells.transpose(4, 0, 2, 1, 3).reshape(-1, 2 * side, 2 * side)


def read_boxes(label: str, p_centre: np.ndarray, sides: np.ndarray, min_score: float = 0.0) -> list[FoundBox]:
    """Read a box at every cell that is likelier an object's centre than the cells around it, best first.

    Args:
        label: of the objects.
        p_centre: ``(G, G)``, the probability that a cell is an object's centre.
        sides: ``(4, G, G)``: the centre within its cell, dx and dy in [0, 1], and log2 of width and height in cells.
        min_score: in [0, 1].

    Source: Objects as Points, arXiv:1904.07850, section 4.1.
    """
    padded = np.pad(p_centre, 1)
    size = len(p_centre)
    around = [padded[r : r + size, c : c + size] for r in range(3) for c in range(3)]
    peaks = (p_centre == np.max(around, axis=0)) & (p_centre >= max(min_score, LEAST_CENTRE))
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-p_centre[rows, columns], kind="stable")
    return [
        FoundBox(
            label=label,
            box_frac=_box_at(row, column, size, sides[:, row, column]),
            score=float(p_centre[row, column]),
            score_method="p(cell is the object's centre), said by the tower's head",
        )
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    ]


def _box_at(row: int, column: int, grid: int, sides: np.ndarray) -> BoxFrac:
    dx, dy, log_width, log_height = sides.tolist()
    x, y = (column + dx) / grid, (row + dy) / grid
    width, height, least = 2**log_width / grid, 2**log_height / grid, 0.25 / grid
    x1, y1 = min(max(x - width / 2, 0.0), 1 - least), min(max(y - height / 2, 0.0), 1 - least)
    return x1, y1, max(min(x + width / 2, 1.0), x1 + least), max(min(y + height / 2, 1.0), y1 + least)

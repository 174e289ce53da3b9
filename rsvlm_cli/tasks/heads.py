"""What the vision tower's own heads say of the scenes and the objects they know, without a prompt.

A small tower knows them better than a small decoder can say what it sees (docs/adr/0018). A model with heads answers
with them where they know the word that is asked for, and with its decoder everywhere else.

Axes: P visual tokens, G = 2 sqrt(P) cells a side, L labels.
"""

import math

import numpy as np

from rsvlm_cli.results import Answer
from rsvlm_cli.tasks.exchange import FoundBox
from rsvlm_cli.tasks.grammar import BoxFrac

LEAST_CENTRE = 0.03
"""Cells less probable than this are no object's centre for anybody."""

MOST_SURE = 1 - 1e-4
"""No cell is surer."""

EVEN = 0.25
"""Of the most probable cell, where ``rsvlm eval --fit`` found nothing: a thing is there as likely as not."""

SHARPNESS = 2.0
"""A head taught by focal loss is less sure than right: its log-odds are worth twice what it says (docs/adr/0018)."""

PROMPT = "[HEAD] {label}"
"""Stands for a prompt where a head was asked."""


def to_cells(values: np.ndarray) -> np.ndarray:
    """Spread ``(P, 4 L)`` over cells, ``(L, G, G)``: a token's values are label by label within its 2 x 2 cells."""
    side = round(len(values) ** 0.5)
    cells = values.reshape(side, side, 2, 2, -1)
    return cells.transpose(4, 0, 2, 1, 3).reshape(-1, 2 * side, 2 * side)


def peaks_of(p_centre: np.ndarray) -> np.ndarray:
    """Return which cells ``(G, G)`` are at least as probable as the eight around them."""
    padded, size = np.pad(p_centre, 1), len(p_centre)
    around = [padded[r : r + size, c : c + size] for r in range(3) for c in range(3)]
    likelier: np.ndarray = p_centre == np.max(around, axis=0)
    return likelier


def read_boxes(label: str, p_centre: np.ndarray, sides: np.ndarray, min_score: float = 0.0) -> list[FoundBox]:
    """Read a box at every cell that is likelier an object's centre than the cells around it, best first.

    Args:
        label: of the objects.
        p_centre: ``(G, G)``, the probability that a cell is an object's centre.
        sides: ``(4, G, G)``: the centre within its cell, dx and dy in [0, 1], and log2 of width and height in cells.
        min_score: in [0, 1].

    Source: Objects as Points, arXiv:1904.07850, section 4.1.
    """
    rows, columns = np.nonzero(peaks_of(p_centre) & (p_centre >= max(min_score, LEAST_CENTRE)))
    order = np.argsort(-p_centre[rows, columns], kind="stable")
    return [
        FoundBox(
            label=label,
            box_frac=_box_at(row, column, len(p_centre), sides[:, row, column]),
            score=float(p_centre[row, column]),
            score_method="p(cell is the object's centre), said by the tower's head",
        )
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    ]


def odds_there(p_centre: np.ndarray, even_odds: float) -> float:
    """Return the odds that a thing is there, from its most probable cell.

    Args:
        p_centre: ``(G, G)``, the probability that a cell is the thing's centre.
        even_odds: of the most probable cell where the thing is as likely there as not.
    """
    p = min(float(p_centre.max()), MOST_SURE)
    return math.pow(p / (1 - p) / even_odds, SHARPNESS)


def read_presence(question: str, p_centre: np.ndarray, even: float = EVEN) -> Answer:
    """Say whether a thing is there, from its most probable cell.

    Args:
        question: that is answered.
        p_centre: ``(G, G)``, the probability that a cell is the thing's centre.
        even: of the most probable cell of a picture that holds the thing as likely as not, in (0, 1).
    """
    odds = odds_there(p_centre, even / (1 - even))
    p_yes = odds / (1 + odds)
    text, score = ("yes", p_yes) if p_yes >= 0.5 else ("no", 1 - p_yes)
    return Answer(
        text=text, question=question, score=score, score_method="by the most probable cell of the tower's head"
    )


def read_count(question: str, p_centre: np.ndarray, min_score: float) -> Answer:
    """Say how many things there are: cells likelier a centre than those around, of at least so much."""
    n = int((peaks_of(p_centre) & (p_centre >= min_score)).sum())
    return Answer(
        text=str(n), question=question, score_method=f"centres of at least {min_score:g}, by the tower's head"
    )


def _box_at(row: int, column: int, grid: int, sides: np.ndarray) -> BoxFrac:
    dx, dy, log_width, log_height = sides.tolist()
    x, y = (column + dx) / grid, (row + dy) / grid
    width, height, least = 2**log_width / grid, 2**log_height / grid, 0.25 / grid
    x1, y1 = min(max(x - width / 2, 0.0), 1 - least), min(max(y - height / 2, 0.0), 1 - least)
    return x1, y1, max(min(x + width / 2, 1.0), x1 + least), max(min(y + height / 2, 1.0), y1 + least)

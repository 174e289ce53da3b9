"""Where a thing is: a phrase in, boxes out. Detection asks it once for each class.

Boxes that are read
    The cells of things' cores are read first. The most probable cell speaks of its box; cells within that box's core
    are then the same thing, and the next most probable one speaks. Score: the probability that the cell is of a core.

Score of boxes that are written
    ``p(found) * mean p(coordinate)``, the mean geometric over the tokens that hold the box's digits. ``p(found)`` is
    one minus the probability of the family's word for "none" where the reply begins, so that a class the picture does
    not show ranks low even where boxes are decoded; a family without such a word leaves it out, and the method says so.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rsvlm_cli.tasks.cells import BLOCKS, box_at, core_of
from rsvlm_cli.tasks.dialect import BoxStyle, Dialect, PromptKind
from rsvlm_cli.tasks.exchange import FoundBox, Reply, Request, build_request, mean_probability
from rsvlm_cli.tasks.grammar import BoxList, parse_boxes

MAX_BOXES = 64
"""Twice and more what training replies hold; a busier place wants smaller windows."""
LEAST_CORE = 0.05
"""Cells less probable than this are never asked for a box: each costs a pass of the decoder."""
TOKENS_PER_BOX = 16
"""Four numbers of up to three digits, and punctuation that joins some of them."""


def request(dialect: Dialect, phrase: str) -> Request:
    """Build the request for every box that a phrase names."""
    asked = build_request(dialect, PromptKind.GROUND, phrase=phrase)
    if dialect.box_style is BoxStyle.REACH:
        return replace(asked, choices=BLOCKS)
    grammar = BoxList(scale=dialect.box_scale, no_boxes=dialect.no_boxes, max_boxes=MAX_BOXES)
    return replace(asked, grammar=grammar, max_new_tokens=MAX_BOXES * TOKENS_PER_BOX)


def read(dialect: Dialect, phrase: str, reply: Reply) -> list[FoundBox]:
    """Read the boxes that the reply holds whole; one that the budget cut is left out.

    Raises:
        ReplyMalformed: if the text is no list of boxes.
    """
    text = reply.text if reply.finish != "length" else reply.text[: reply.text.rfind("]") + 1]
    boxes = parse_boxes(text, dialect.box_scale, dialect.no_boxes) if text else []
    p_found = probability_found(dialect, reply)
    method = "mean p(coordinate)" if p_found is None else "p(found) * mean p(coordinate)"
    scores = [(1.0 if p_found is None else p_found) * p for p in _coordinate_probabilities(reply)]
    return [
        FoundBox(label=phrase, box_frac=box, score=score, score_method=method)
        for box, score in zip(boxes, scores, strict=False)
    ]


def read_cells(
    phrase: str, p_cell: np.ndarray, reach_at: Callable[[int, int], np.ndarray], min_score: float = 0.0
) -> list[FoundBox]:
    """Read the boxes that the cells speak of, best first.

    Args:
        phrase: what was asked for.
        p_cell: ``(G, G)``, the probability that each cell is of a core.
        reach_at: asks the cell at a row and column for its reach, ``(4, 101)``.
        min_score: cells that are less probable are not asked, in [0, 1].
    """
    p_core = p_cell.copy()
    grid = len(p_core)
    found: list[FoundBox] = []
    while len(found) < MAX_BOXES:
        row, column = (int(v) for v in np.unravel_index(p_core.argmax(), p_core.shape))
        score = float(p_core[row, column])
        if score < max(min_score, LEAST_CORE):
            break
        box = box_at(row, column, grid, reach_at(row, column))
        found.append(FoundBox(label=phrase, box_frac=box, score=score, score_method="p(cell is of the thing's core)"))
        core = core_of(box, grid)
        p_core[core[:, 0], core[:, 1]] = p_core[row, column] = 0
    return found


def probability_found(dialect: Dialect, reply: Reply) -> float | None:
    """Return the probability in [0, 1] that anything is there, or None where the reply cannot tell."""
    choices = reply.steps[0].choices if reply.steps else None
    if dialect.no_boxes is None or choices is None:
        return None
    p_none = sum(p for text, p in choices if text and dialect.no_boxes.startswith(text))
    p_some = sum(p for text, p in choices if text.startswith("["))
    return p_some / (p_some + p_none) if p_some + p_none > 0 else None


def _coordinate_probabilities(reply: Reply) -> list[float]:
    """Return each closed box's geometric mean over the tokens with digits, in order."""
    means: list[float] = []
    logprobs: list[float] = []
    for step in reply.steps:
        # A token may close one box and open the next.
        for part in _split_after_bracket(step.text):
            if any(char.isdigit() for char in part):
                logprobs.append(step.logprob)
            if part.endswith("]"):
                means.append(mean_probability(logprobs) or 0.0)
                logprobs = []
    return means


def _split_after_bracket(text: str) -> list[str]:
    head, bracket, tail = text.partition("]")
    return [head + bracket, *_split_after_bracket(tail)] if bracket else [text]

"""Where a thing is: a phrase in, boxes out. Detection asks it once for each class.

Boxes that are read
    The cells of things' cores are read first. The most probable cell speaks of its box; cells within that box's core
    are then the same thing, and the next most probable one speaks. Score: the probability that the cell is of a core.

Score of boxes that are written
    ``p(found) * mean p(coordinate)``, the mean geometric over the tokens that hold the box's digits. ``p(found)`` is
    one minus the probability of the family's word for "none" where the reply begins, so that a class the picture does
    not show ranks low even where boxes are decoded; a family without such a word leaves it out, and the method says so.
"""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rsvlm_cli.tasks.cells import BLOCKS, box_at, core_of
from rsvlm_cli.tasks.dialect import BoxStyle, Dialect, PromptKind
from rsvlm_cli.tasks.exchange import FoundBox, Reply, Request, build_request, mean_probability
from rsvlm_cli.tasks.grammar import BoxFrac, BoxList, parse_boxes
from rsvlm_cli.tasks.quads import N_NUMBERS, BoxLines, QuadFrac, hull_of, parse_quads

MAX_BOXES = 64
"""Twice and more what training replies hold; a busier place wants smaller windows."""
LEAST_CORE = 0.05
"""Cells less probable than this are never asked for a box: each costs a pass of the decoder."""
TOKENS_PER_BOX = 16
"""Four numbers of up to three digits, and punctuation that joins some of them."""
TOKENS_PER_LINE = 36
"""Of a turned box: eight numbers of up to three digits, a token each, commas and the label."""


def request(dialect: Dialect, phrase: str) -> Request:
    """Build the request for every box that a phrase names."""
    asked = build_request(dialect, PromptKind.GROUND, phrase=phrase)
    if dialect.box_style is BoxStyle.REACH:
        return replace(asked, choices=BLOCKS)
    if dialect.box_style is BoxStyle.CORNERS:
        grammar = BoxList(scale=dialect.box_scale, no_boxes=dialect.no_boxes, max_boxes=MAX_BOXES)
        return replace(asked, grammar=grammar, max_new_tokens=MAX_BOXES * TOKENS_PER_BOX)
    lines = BoxLines(phrase, N_NUMBERS[dialect.box_style], dialect.no_boxes, MAX_BOXES)
    return replace(asked, grammar=lines, max_new_tokens=MAX_BOXES * TOKENS_PER_LINE)


def read(dialect: Dialect, phrase: str, reply: Reply, size_px: tuple[int, int]) -> list[FoundBox]:
    """Read the boxes that the reply holds whole; one that the budget cut is left out.

    Args:
        dialect: of the model.
        phrase: what was asked for.
        reply: the model's.
        size_px: width and height of the picture that the model saw.

    Raises:
        ReplyMalformed: if the text is no list of upright boxes where these are wanted.
    """
    ends_with = "]" if dialect.box_style is BoxStyle.CORNERS else "\n"
    text = reply.text if reply.finish != "length" else reply.text[: reply.text.rfind(ends_with) + 1]
    p_found = probability_found(dialect, reply)
    method = "mean p(coordinate)" if p_found is None else "p(found) * mean p(coordinate)"

    def found(box: BoxFrac, quad: QuadFrac | None, span: tuple[int, int]) -> FoundBox:
        score = (1.0 if p_found is None else p_found) * _coordinate_probability(reply, *span)
        return FoundBox(label=phrase, box_frac=box, quad_frac=quad, score=score, score_method=method)

    if dialect.box_style is not BoxStyle.CORNERS:
        return [found(hull_of(quad), quad, span) for quad, span in parse_quads(text, dialect.box_style, size_px)]
    boxes = parse_boxes(text, dialect.box_scale, dialect.no_boxes) if text else []
    spans = [match.span() for match in re.finditer(r"\[[^]]*\]", text)]
    return [found(box, None, span) for box, span in zip(boxes, spans, strict=True)]


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
    p_some = sum(p for text, p in choices if text.startswith(("[", "-")) or text[:1].isdigit())
    return p_some / (p_some + p_none) if p_some + p_none > 0 else None


def _coordinate_probability(reply: Reply, start: int, end: int) -> float:
    """Return the geometric mean over the tokens with digits between two places of the text."""
    logprobs, at = [], 0
    for step in reply.steps:
        # A token may close one box and open the next.
        part = step.text[max(0, start - at) : max(0, end - at)]
        if any(char.isdigit() for char in part):
            logprobs.append(step.logprob)
        at += len(step.text)
    return mean_probability(logprobs) or 0.0

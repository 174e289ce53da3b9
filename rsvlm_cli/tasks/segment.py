"""Which cells of a picture are of a label.

Score
    ``quadrants``: each block is one token; the block's distribution over the 16 shapes is summed over the shapes that
    set a cell, which gives that cell's own probability. ``runs``: a cell has the probability of the token that begins
    its run's label; a background cell has one minus that.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rsvlm_cli.tasks.cells import BLOCKS
from rsvlm_cli.tasks.dialect import Dialect, MaskStyle, PromptKind
from rsvlm_cli.tasks.exchange import FoundMask, Reply, Request, Step, build_request, require_whole
from rsvlm_cli.tasks.grammar import BACKGROUND, QUADRANTS, mask_grammar, parse_mask

TOKENS_PER_RUN = 6

_SETS_CELL = np.array([[(index >> bit) & 1 for bit in range(4)] for index in range(16)], np.float32)
"""``(16, 4)``: whether shape i sets the upper left, upper right, lower left, lower right cell."""


def request(dialect: Dialect, label: str) -> Request:
    """Build the request for one label's mask."""
    return with_mask_grammar(dialect, build_request(dialect, PromptKind.SEGMENT, label=label), label)


def with_mask_grammar(dialect: Dialect, asked: Request, label: str) -> Request:
    """Ask for the mask cell by cell, or constrain a request to the family's mask text with the longest one's budget."""
    if dialect.mask_style is MaskStyle.CELLS:
        return replace(asked, choices=BLOCKS)
    grid = dialect.mask_grid
    # A quadrant character may be three tokens where a family's tokenizer has none for it.
    longest = 3 * (grid // 2) ** 2 + grid if dialect.mask_style is MaskStyle.QUADRANTS else TOKENS_PER_RUN * grid * grid
    return replace(asked, grammar=mask_grammar(dialect.mask_style, grid, (label,)), max_new_tokens=longest)


def read(dialect: Dialect, label: str, reply: Reply) -> FoundMask:
    """Read one label's mask.

    Raises:
        ReplyTruncated: if the budget ended first: the rest of a mask is unknown, not empty.
        ReplyMalformed: if the text is no mask.
    """
    require_whole(reply, "mask")
    cells = parse_mask(reply.text, dialect.mask_style, dialect.mask_grid, (label,))
    if dialect.mask_style is MaskStyle.RUNS:
        p_set, method = _run_probability(cells, reply), "p(first token of the run's label)"
    else:
        p_set, method = (
            _quadrant_probability(dialect.mask_grid, reply.steps),
            "p(block), summed over shapes with the cell",
        )
    if p_set is None:
        p_set, method = cells.astype(np.float32), "as decoded, no probability"
    return FoundMask(label=label, p_set=p_set, score_method=method)


def _quadrant_probability(grid: int, steps: Sequence[Step]) -> np.ndarray | None:
    """Return ``(grid, grid)``, or None where a block is not one token with its distribution."""
    blocks = [step for step in steps if step.text in QUADRANTS and len(step.text) == 1]
    if len(blocks) != (grid // 2) ** 2:
        return None
    p_shape = np.zeros((len(blocks), 16), np.float32)
    for row, step in zip(p_shape, blocks, strict=True):
        for text, p in step.choices or ((step.text, 1.0),):
            if len(text) == 1 and text in QUADRANTS:
                row[QUADRANTS.index(text)] += p
    p_cell: np.ndarray = (p_shape / p_shape.sum(axis=1, keepdims=True)) @ _SETS_CELL
    side = grid // 2
    return p_cell.reshape(side, side, 2, 2).transpose(0, 2, 1, 3).reshape(grid, grid)


def _run_probability(cells: np.ndarray, reply: Reply) -> np.ndarray | None:
    """Return the probability that a cell is of the label, from the token with which its run begins."""
    begins, position = {}, 0
    for step in reply.steps:
        # A separator may share the token with the label that follows it.
        begins[position + len(step.text) - len(step.text.lstrip(", \n"))] = float(np.exp(step.logprob))
        position += len(step.text)
    p_set, at = np.zeros(cells.shape, np.float32), 0
    for y, line in enumerate(reply.text.split("\n")):
        x = 0
        for run in line.split(", "):
            label, _, count = run.rpartition("*")
            p = begins.get(at)
            if p is None:
                return None
            p_set[y, x : x + int(count)] = 1 - p if label == BACKGROUND else p
            x, at = x + int(count), at + len(run) + 2
        at -= 1  # A line ends with one character, a run inside it with two.
    return p_set

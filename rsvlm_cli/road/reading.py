"""What one window says of a mask or of boxes, as text or cell by cell, as the model's family speaks.

Boxes of a class that the tower's head knows are the head's.
"""

from functools import partial
from types import ModuleType

import numpy as np

from rsvlm_cli.results import Box, Exchange
from rsvlm_cli.road.heads import knows, see_centres, see_sides
from rsvlm_cli.runtime.features import Spot
from rsvlm_cli.scene import View
from rsvlm_cli.tasks import ground as ground_task
from rsvlm_cli.tasks import heads as heads_task
from rsvlm_cli.tasks import segment as segment_task
from rsvlm_cli.tasks.cells import REACHES, SIDE_MARKS, blocks_of, format_blocks, spot_of
from rsvlm_cli.tasks.exchange import FoundBox, FoundMask, Request


def read_mask(view: View, task: ModuleType, label: str) -> FoundMask:
    """Ask a window for one label's mask; ``task`` is `tasks.segment` or `tasks.detect_change`."""
    request = task.request(view.scene.dialect, label)
    if request.choices:
        p_set = _read_cells(view, request, label)
        return FoundMask(label=label, p_set=p_set, score_method="p(block), summed over shapes with the cell")
    return segment_task.read(view.scene.dialect, label, view.generate(request))


def read_boxes(view: View, phrase: str, min_score: float, p_core: np.ndarray | None = None) -> list[Box]:
    """Ask a window for the boxes of a phrase that score at least so much, in the raster's pixels.

    Args:
        view: the window.
        phrase: what is looked for.
        min_score: in [0, 1]; cells that are less probable are not asked for a box.
        p_core: what `read_core` has just said of it, if it was asked.
    """
    return [_place(view, box) for box in _find_boxes(view, phrase, min_score, p_core)]


def _find_boxes(view: View, phrase: str, min_score: float, p_core: np.ndarray | None) -> list[FoundBox]:
    if knows(view, "objects", phrase):
        p_centre = see_centres(view, phrase) if p_core is None else p_core
        return heads_task.read_boxes(phrase, p_centre, see_sides(view), min_score)
    request = ground_task.request(view.scene.dialect, phrase)
    if request.choices:
        reach_at = partial(_read_reach, view, request, phrase)
        p_core = _read_cells(view, request, phrase) if p_core is None else p_core
        return ground_task.read_cells(phrase, p_core, reach_at, min_score)
    size_px = view.scene.bundle.manifest.image.size
    found = ground_task.read(view.scene.dialect, phrase, view.generate(request), size_px)
    return [box for box in found if box.score >= min_score]


def _place(view: View, found: FoundBox) -> Box:
    quad_px = found.quad_frac and tuple(view.box_px(vertex * 2)[:2] for vertex in found.quad_frac)
    return Box(
        label=found.label,
        box_px=view.box_px(found.box_frac),
        quad_px=quad_px,  # type: ignore[arg-type]
        score=found.score,
        score_method=found.score_method,
    )


def read_core(view: View, phrase: str) -> np.ndarray:
    """Ask a window where things of a phrase are; of a family that reads boxes.

    Returns:
        ``(G, G)`` float32, the probability that each cell is of a thing's core, or its centre where a head is asked.
    """
    if knows(view, "objects", phrase):
        return see_centres(view, phrase)
    return _read_cells(view, ground_task.request(view.scene.dialect, phrase), phrase)


def _read_cells(view: View, request: Request, phrase: str) -> np.ndarray:
    spots = _every_token(view, phrase)
    p_cell = view.read_cells(request, spots)
    drawn = format_blocks(blocks_of((p_cell >= 0.5).astype(np.int8)))
    view.scene.note(Exchange(window_px=view.window_px, prompt=request.prompt, reply=drawn))
    return p_cell


def _read_reach(view: View, request: Request, phrase: str, row: int, column: int) -> np.ndarray:
    """Ask a cell for its box's sides; every cell was read before and is still in the decoder's cache."""
    spots = _every_token(view, phrase)
    token, corner = spot_of(row, column, 2 * round(len(spots) ** 0.5))
    sides = [Spot(token, (phrase, corner, side)) for side in SIDE_MARKS]
    return view.read(request, spots + sides, REACHES, len(sides))


def _every_token(view: View, phrase: str) -> list[Spot]:
    # The last vector of a picture is its newline.
    return [Spot(token, (phrase,)) for token in range(view.scene.bundle.manifest.image.tokens - 1)]

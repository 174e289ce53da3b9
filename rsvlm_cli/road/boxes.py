"""Boxes of a scene of any size: found window by window, merged as the windows pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rsvlm_cli.geo.tiling import Lattice
from rsvlm_cli.results import Box, BoxPx
from rsvlm_cli.road.reading import read_boxes
from rsvlm_cli.road.sweep import Sweep
from rsvlm_cli.scene import View
from rsvlm_cli.tasks.merge import BoxMerger, SeenBox
from rsvlm_cli.tasks.quads import hull_of, order_vertices


@dataclass(frozen=True, slots=True)
class FindBoxes:
    """Asks a window for the boxes of each phrase; gives ``[label, box_px, quad_px, score, score_method]`` of each.

    Attributes:
        least: the phrases, and from which score on a box of each is one, in [0, 1].
    """

    least: Mapping[str, float]

    def __call__(self, view: View) -> list[Any]:
        """Ask one window."""
        return [
            [box.label, box.box_px, box.quad_px, box.score, box.score_method]
            for phrase, min_score in self.least.items()
            for box in read_boxes(view, phrase, min_score)
        ]


def sweep_boxes(sweep: Sweep, lattice: Lattice, *, across_labels: bool) -> list[Box]:
    """Return every box whose middle lies in the part asked for, the best first; none reaches beyond the raster.

    Args:
        sweep: whose work is `FindBoxes`.
        lattice: its windows.
        across_labels: as `BoxMerger`.
    """
    scene, merger = sweep.scene, BoxMerger(across_labels=across_labels)
    row = 0
    for look in sweep.looks(lattice, lattice.places(lattice.cells_in(scene.window_px))):
        if look.place.row > row:
            row = look.place.row
            merger.settle(look.window_px[1])
        merger.add(SeenBox.of(_read(found), look.window_px, lattice.area_px) for found in look.found or ())
    scene.require_seen()
    return [_clamp(box, lattice.area_px) for box in merger.finish() if _is_asked_for(sweep, box)]


def _read(found: Sequence[Any]) -> Box:
    """Read a box again from JSON, which knows no tuples."""
    label, box_px, quad_px, score, method = found
    quad_px = quad_px and tuple(map(tuple, quad_px))
    return Box(label=label, box_px=tuple(box_px), quad_px=quad_px, score=score, score_method=method)


def _clamp(box: Box, raster_px: BoxPx) -> Box:
    """Bring the vertices of a turned box to the raster's edge where they lie beyond it."""
    if box.quad_px is None:
        return box
    quad_px = order_vertices(np.clip(box.quad_px, raster_px[:2], raster_px[2:]))
    return replace(box, box_px=hull_of(quad_px), quad_px=quad_px)


def _is_asked_for(sweep: Sweep, box: Box) -> bool:
    x, y = (box.box_px[0] + box.box_px[2]) / 2, (box.box_px[1] + box.box_px[3]) / 2
    x1, y1, x2, y2 = sweep.scene.window_px
    # A box may lie on the very edge.
    inside = x1 <= x <= x2 and y1 <= y <= y2
    return inside and (sweep.scene.aoi is None or sweep.scene.aoi.holds(x, y))

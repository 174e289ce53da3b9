"""Boxes of a scene of any size: found window by window, merged as the windows pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsvlm_cli.geo.tiling import Lattice
from rsvlm_cli.results import Box
from rsvlm_cli.road.reading import read_boxes
from rsvlm_cli.road.sweep import Sweep
from rsvlm_cli.scene import View
from rsvlm_cli.tasks.merge import BoxMerger, SeenBox


@dataclass(frozen=True, slots=True)
class FindBoxes:
    """Asks a window for the boxes of each phrase; gives ``[label, x1, y1, x2, y2, score, score_method]`` of each.

    Attributes:
        least: the phrases, and from which score on a box of each is one, in [0, 1].
    """

    least: Mapping[str, float]

    def __call__(self, view: View) -> list[Any]:
        """Ask one window."""
        return [
            [box.label, *view.box_px(box.box_frac), box.score, box.score_method]
            for phrase, min_score in self.least.items()
            for box in read_boxes(view, phrase, min_score)
        ]


def sweep_boxes(sweep: Sweep, lattice: Lattice, *, across_labels: bool) -> list[Box]:
    """Return every box whose middle lies in the part asked for, the best first.

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
    return [box for box in merger.finish() if _is_asked_for(sweep, box)]


def _read(found: Sequence[Any]) -> Box:
    label, x1, y1, x2, y2, score, method = found
    return Box(label=label, box_px=(x1, y1, x2, y2), score=score, score_method=method)


def _is_asked_for(sweep: Sweep, box: Box) -> bool:
    x, y = (box.box_px[0] + box.box_px[2]) / 2, (box.box_px[1] + box.box_px[3]) / 2
    x1, y1, x2, y2 = sweep.scene.window_px
    # A box may lie on the very edge.
    inside = x1 <= x <= x2 and y1 <= y <= y2
    return inside and (sweep.scene.aoi is None or sweep.scene.aoi.holds(x, y))

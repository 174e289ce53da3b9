"""A search over the windows of a quadtree, the most promising one split next; the law is `rsvlm_cli.tasks.evidence`.

Source: a tree searched by the model's confidence, ZoomEye (arXiv:2411.16044).
"""

import math
from dataclasses import dataclass, replace

from rsvlm_cli.geo.quarters import area_of, cut_quarters, grow, longest_side
from rsvlm_cli.results import Answer, Box, BoxPx, Hop
from rsvlm_cli.road.heads import knows
from rsvlm_cli.road.reading import read_boxes, read_core
from rsvlm_cli.scene import View
from rsvlm_cli.tasks.evidence import EVEN_ODDS, EVEN_ODDS_OF_HEAD, MARGIN_FRAC, STATISTICS, Evidence, odds_by_cells
from rsvlm_cli.tasks.merge import SeenBox
from rsvlm_cli.tasks.zoom import Aim, named_labels
from rsvlm_cli.zoom.look import Answered, Budget, Looker, Said, look_once

NEAREST = math.sqrt(2)
"""A window up to this factor larger than a leaf is one: halves of it would be further from a leaf's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(Evidence):
    """A window of the tree.

    Attributes:
        cell_px: its part of the scene; what was shown may reach a little further.
        hop: its record, or None of the overview.
        path: the records of the windows it was split from, from the largest.
    """

    cell_px: BoxPx
    hop: Hop | None = None
    path: tuple[Hop, ...] = ()

    @property
    def hops(self) -> tuple[Hop, ...]:
        """Its own record and those it was split from."""
        return (*self.path, self.hop) if self.hop else self.path


class Search:
    """A quadtree of windows, the most promising one split next."""

    def __init__(self, view: View, question: str, aim: Aim, label: str | None, budget: Budget) -> None:
        self.view, self.question, self.aim, self.label, self.budget = view, question, aim, label, budget
        self.statistic, self.looker = STATISTICS[aim], Looker(view, question, budget)
        self.min_score = view.scene.settings.least_score(view.scene.quality, "count", label or "")
        self.leaf_px, self.known = leaf_side_px(view, question, coarsest=aim is Aim.COUNT and label is None)
        # Boxes that two windows saw of one thing are merged, so surroundings do no harm.
        self.margin_frac = MARGIN_FRAC if label else self.statistic.margin_frac
        self.hops: list[Hop] = []

    def run(self) -> Answered:
        """Split until the answer is certain, no window is coarse, or the budget is spent."""
        statistic = self.statistic
        if longest_side(self.view.window_px) <= NEAREST * self.leaf_px:
            return self.budget.pay(look_once(self.view, self.question)), []
        tiling = [self._weigh(self.view.window_px, self._say(self.view))]
        concluded = statistic.conclude(tiling)
        while not statistic.certain(concluded[0]):
            coarse = [look for look in tiling if self._coarse(look)]
            if not coarse:
                break
            parent = max(coarse, key=statistic.rank)
            parts = cut_quarters(parent.cell_px)
            if not self.budget.allows(len(parts)):
                break
            kept = statistic.keep(parent, [look for look in (self._look(parent, part) for part in parts) if look])
            tiling = [look for look in tiling if look is not parent] + kept
            if not tiling:
                break
            concluded = statistic.conclude(tiling)
        found, rests_on = concluded
        decided = {hop.step for look in rests_on for hop in look.hops}
        hops = [replace(hop, label="decided") if hop.step in decided else hop for hop in self.hops]
        return self.budget.pay(replace(found, question=self.question)), hops

    def _look(self, parent: Look, cell_px: BoxPx) -> Look | None:
        window_px = grow(cell_px, self.margin_frac, self.view.window_px)
        asked = self.looker.ask(window_px, self._say)
        if asked is None:
            return None
        _, said, hop = asked
        self.hops.append(hop)
        return replace(self._weigh(cell_px, said), hop=hop, path=parent.hops)

    def _say(self, view: View) -> Said:
        """Ask a window, or read its cells, and of a count its boxes."""
        if self.label is None:
            return Said(look_once(view, self.question))
        p_core, label = read_core(view, self.label), self.label
        odds = odds_by_cells(p_core, EVEN_ODDS_OF_HEAD if knows(view, "objects", label) else EVEN_ODDS)
        if self.aim is Aim.COUNT:
            boxes = [Box(label=label, box_px=view.box_px(found.box_frac), score=found.score)
                     for found in read_boxes(view, label, self.min_score, p_core)]  # fmt: skip
            seen = tuple(SeenBox.of(box, view.window_px, self.view.window_px) for box in boxes)
            method = f"boxes of at least {self.min_score:g}"
            return Said(Answer(text=str(len(seen)), question=self.question, score_method=method), odds, seen)
        p_yes = odds / (1 + odds)
        text, method = ("yes" if p_yes >= 0.5 else "no"), "odds of the most probable cell"
        answer = Answer(text=text, question=self.question, score=max(p_yes, 1 - p_yes), score_method=method)
        return Said(answer, odds)

    def _weigh(self, cell_px: BoxPx, said: Said) -> Look:
        side_px = longest_side(cell_px)
        trust = 1.0 if side_px <= NEAREST * self.leaf_px else self.leaf_px / side_px
        # Of a thing whose size is not known, a coarse yes may well be right; a coarse no says little of any thing.
        trust_yes = trust if self.known else 1.0
        return Look(
            cell_px=cell_px, area=area_of(cell_px), found=said.found, odds=said.odds, boxes=said.boxes,
            trust_yes=trust_yes, trust_no=trust,
        )  # fmt: skip

    def _coarse(self, look: Look) -> bool:
        return longest_side(look.cell_px) > NEAREST * self.leaf_px


def leaf_side_px(view: View, question: str, *, coarsest: bool) -> tuple[float, bool]:
    """Return the side of the windows that a search ends at, in raster pixels, and whether the thing's scale is known.

    Where the question names a class that the model was taught at known ground sampling distances, a model pixel is to
    be the middle of them, by ratio, as `detect` would have it, or the coarsest; else two raster pixels. It is never
    finer than one.
    """
    scene = view.scene
    entries = (scene.bundle.manifest.classes or {}).get("objects", ())
    taught = {
        entry["label"]: entry["gsd_m"][1] if coarsest else math.sqrt(math.prod(entry["gsd_m"]))
        for entry in entries if isinstance(entry, dict) and "gsd_m" in entry
    }  # fmt: skip
    named, gsd_m = named_labels(question, taught), scene.rasters[0].gsd_m
    shrink = min(taught[label] for label in named) / gsd_m if named and gsd_m else 2.0
    return scene.model_side_px * max(1.0, shrink), bool(named and gsd_m)

"""A search over the windows of a quadtree, the most promising one split next; the law is `rsvlm_cli.tasks.evidence`.

Source: a tree searched by the model's confidence, ZoomEye (arXiv:2411.16044).
"""

import logging
import math
from dataclasses import dataclass, replace

from rsvlm_cli.geo.quarters import area_of, cut_quarters, grow, longest_side
from rsvlm_cli.results import Answer, BoxPx, Hop
from rsvlm_cli.road.heads import knows
from rsvlm_cli.road.reading import read_boxes, read_core
from rsvlm_cli.scene import View
from rsvlm_cli.tasks.evidence import MARGIN_FRAC, STATISTICS, Evidence, count_boxes, odds_by_cells
from rsvlm_cli.tasks.merge import SeenBox
from rsvlm_cli.tasks.zoom import Aim, named_labels
from rsvlm_cli.zoom.look import Answered, Budget, Looker, Said, look_once

log = logging.getLogger(__name__)

NEAREST = math.sqrt(2)
"""A window up to this factor larger than a leaf is one: halves of it would be further from a leaf's size."""

NO_FINER = 2.0
"""The same where cells are read, if the class was taught so coarsely: quarters would be finer than the middle of its
range, and four times as many windows could err."""


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
        """Its own record and those it was split from: as many as the scene was quartered for it."""
        return (*self.path, self.hop) if self.hop else self.path


class Search:
    """A quadtree of windows, the most promising one split next."""

    def __init__(self, view: View, question: str, aim: Aim, label: str | None, budget: Budget) -> None:
        self.view, self.question, self.aim, self.label, self.budget = view, question, aim, label, budget
        self.statistic, self.looker = STATISTICS[aim], Looker(view, question, budget)
        self.min_score = view.scene.settings.least_score(view.scene.quality)
        middle_px, self.coarsest_px = taught_sides_px(view, question)
        # Numbers that are asked for are summed, errors and all: as few as can be.
        self.leaf_px = (self.coarsest_px if aim is Aim.COUNT and label is None else None) or middle_px
        self.end_px = NEAREST * self.leaf_px
        if label and self.coarsest_px:
            self.end_px = min(max(self.end_px, self.coarsest_px), NO_FINER * self.leaf_px)
        # Boxes that two windows saw of one thing are merged; a cell that shows a part of a thing says that it is there.
        self.margin_frac = self.statistic.margin_frac if label is None else MARGIN_FRAC if aim is Aim.COUNT else 0.0
        self.looks: list[Look] = []

    def run(self) -> Answered:
        """Split until the answer is certain, no window is coarse, or the budget is spent."""
        statistic = self.statistic
        if longest_side(self.view.window_px) <= self.end_px:
            return self.budget.pay(look_once(self.view, self.question)), []
        self.looks = [self._weigh(self.view.window_px, self._say(self.view))]
        tiling = list(self.looks)
        while not statistic.certain(tiling):
            coarse = [look for look in tiling if longest_side(look.cell_px) > self.end_px]
            if not coarse:
                break
            parent = max(coarse, key=statistic.rank)
            parts = cut_quarters(parent.cell_px)
            if not self.budget.allows(len(parts)):
                if self.aim is Aim.COUNT:
                    log.warning(
                        "%s: counted in windows up to %.0f times as coarse as suits it, for the budget is spent (raise "
                        "--max-tokens, ask about a part by --window, or use rsvlm count)",
                        self.question,
                        max(longest_side(look.cell_px) for look in coarse) / self.leaf_px,
                    )
                break
            kept = statistic.keep(parent, [look for look in (self._look(parent, part) for part in parts) if look])
            finer = [look for look in tiling if look is not parent] + kept
            if not finer:
                break
            tiling = finer
        by_boxes = self.label is not None and self.aim is Aim.COUNT
        found, rests_on = count_boxes(self._levels(tiling)) if by_boxes else statistic.conclude(tiling)
        decided = {hop.step for look in rests_on for hop in look.hops}
        hops = [look.hop for look in self.looks if look.hop]
        hops = [replace(hop, label="decided") if hop.step in decided else hop for hop in hops]
        return self.budget.pay(replace(found, question=self.question)), hops

    def _look(self, parent: Look, cell_px: BoxPx) -> Look | None:
        window_px = grow(cell_px, self.margin_frac, self.view.window_px)
        asked = self.looker.ask(window_px, self._say)
        if asked is None:
            return None
        _, said, hop = asked
        self.looks.append(replace(self._weigh(cell_px, said), hop=hop, path=parent.hops))
        return self.looks[-1]

    def _levels(self, tiling: list[Look]) -> list[list[Look]]:
        """Return the scene's tilings, one a level, from the coarsest at which the class was taught to the finest."""
        ends = {id(look) for look in tiling}

        def tiling_at(n: int) -> list[Look]:
            return [look for look in self.looks if len(look.hops) == n or (len(look.hops) < n and id(look) in ends)]

        levels = [tiling_at(n) for n in range(1 + max(len(look.hops) for look in tiling))]
        coarsest_px = self.coarsest_px or 0.0
        taught = [level for level in levels if max(longest_side(look.cell_px) for look in level) <= coarsest_px]
        return taught or levels[-1:]

    def _say(self, view: View) -> Said:
        """Ask a window, or read its cells, and of a count its boxes."""
        if self.label is None:
            return Said(look_once(view, self.question))
        p_core, label = read_core(view, self.label), self.label
        odds = odds_by_cells(p_core, by_head=knows(view, "objects", label))
        if self.aim is Aim.COUNT:
            boxes = read_boxes(view, label, self.min_score, p_core)
            seen = tuple(SeenBox.of(box, view.window_px, self.view.window_px) for box in boxes)
            method = f"boxes of at least {self.min_score:g}"
            return Said(Answer(text=str(len(seen)), question=self.question, score_method=method), odds, seen)
        p_yes = odds / (1 + odds)
        text, method = ("yes" if p_yes >= 0.5 else "no"), "odds of the most probable cell"
        answer = Answer(text=text, question=self.question, score=max(p_yes, 1 - p_yes), score_method=method)
        return Said(answer, odds)

    def _weigh(self, cell_px: BoxPx, said: Said) -> Look:
        side_px = longest_side(cell_px)
        trust = 1.0 if side_px <= self.end_px else self.leaf_px / side_px
        # Of a thing whose size is not known, a coarse yes may well be right; a coarse no says little of any thing.
        trust_yes = trust if self.coarsest_px else 1.0
        return Look(
            cell_px=cell_px, area=area_of(cell_px), found=said.found, odds=said.odds, boxes=said.boxes,
            trust_yes=trust_yes, trust_no=trust,
        )  # fmt: skip


def taught_sides_px(view: View, question: str) -> tuple[float, float | None]:
    """Return the side of windows at which a thing should be seen best, in raster pixels, and the largest such side.

    Where the question names a class that the model was taught at known ground sampling distances, a model pixel is to
    be the middle of them, by ratio, as `detect` would have it, and at most the coarsest; else it is two raster pixels,
    and None. It is never finer than one.
    """
    scene, gsd_m = view.scene, view.scene.rasters[0].gsd_m
    entries = (scene.bundle.manifest.classes or {}).get("objects", ())
    named = named_labels(question, [entry["label"] for entry in entries if isinstance(entry, dict)])
    taught = scene.trained_gsd_m("objects", named).values()
    if not taught or not gsd_m:
        return 2.0 * scene.model_side_px, None
    middle_m, coarsest_m = (
        min(values) for values in zip(*((math.sqrt(low * high), high) for low, high in taught), strict=True)
    )
    return scene.model_side_px * max(1.0, middle_m / gsd_m), scene.model_side_px * max(1.0, coarsest_m / gsd_m)

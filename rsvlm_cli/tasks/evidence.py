"""How the answers of windows make a scene's answer, and which window promises most when it is looked at more closely.

- presence: with one such thing at an unknown place, the odds that the scene holds it are the mean of its windows' odds,
  by area (each window's odds, at even prior odds, are its likelihood ratio). The window that adds most to that mean
  promises most. Many hesitant windows do not add up to a yes, and a certain one outweighs them.
- count: the sum over windows that do not overlap. A large one promises, and one in which things were seen.
- detail: the answer of the most certain window, down from quarter to quarter as long as the certainty grows.

Where a family reads things cell by cell, the cells say more than a yes or a number (docs/adr/0011): a window's odds are
those of its most probable cell. A count's windows are then split in the order of these odds, and boxes are counted, at
the level of the tree where the class is seen best.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from rsvlm_cli.results import Answer
from rsvlm_cli.tasks.heads import MOST_SURE, odds_there
from rsvlm_cli.tasks.merge import BoxMerger, SeenBox
from rsvlm_cli.tasks.zoom import Aim

CERTAIN = 0.95
"""An answer of this probability is not looked at more closely."""

MARGIN_FRAC = 0.125
"""A window is shown with so much of its surroundings on each edge, so that a thing on a seam is whole somewhere."""

MAX_ODDS = 1e4
"""No single look says more."""

EVEN_ODDS = 0.03
"""Odds of the most probable cell of a window that does not hold the thing, on average. Where nothing is, likelihood
ratios average one, whatever they are of; so a window's odds are divided by this."""

EVEN_ODDS_OF_HEAD = 0.12
"""The same of `heads.odds_there`, where the tower's head says what a cell is: found by maximum likelihood
(``python -m benchmarks.uhr --fit``). Less than of pictures of something, for most windows of a scene are empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a window said.

    Attributes:
        area: of the window, in any unit.
        found: its own answer.
        trust_yes, trust_no: what the log-odds of either answer weigh, in (0, 1]: less where things are too small.
        odds: that the thing is there, by the window's cells, or None: by its answer, if that is yes or no.
        boxes: of the things that it shows, or None where it was asked for a number.
    """

    area: float
    found: Answer
    trust_yes: float = 1.0
    trust_no: float = 1.0
    odds: float | None = None
    boxes: tuple[SeenBox, ...] | None = None


E = TypeVar("E", bound=Evidence)


class Statistic(Protocol):
    """The law of one kind of question."""

    @property
    def margin_frac(self) -> float:
        """How much of its surroundings a window is shown with, as a share of its side, on each edge."""

    def rank(self, window: Evidence) -> float:
        """Say how much a closer look at this window promises; only the order counts."""

    def keep(self, parent: Evidence, parts: list[E]) -> list[E]:
        """Return which parts of a window take its place."""

    def conclude(self, windows: Sequence[E]) -> tuple[Answer, list[E]]:
        """Return the scene's answer from windows that tile it, and those that it rests on."""

    def certain(self, windows: Sequence[Evidence]) -> bool:
        """Say whether the answer of windows that tile the scene needs no closer look."""


def certainty(found: Answer) -> float:
    """Return an answer's probability, 0 where it has none."""
    return found.score or 0.0


def odds_by_cells(p_core: np.ndarray, *, by_head: bool = False) -> float:
    """Return the odds that a thing is in a window, at even prior odds, from what its cells say.

    Args:
        p_core: ``(G, G)`` in [0, 1], the probability that each cell is of the thing's core, or its centre.
        by_head: whether the tower's head says so, and not the decoder.
    """
    p = min(float(p_core.max()), MOST_SURE)
    odds = odds_there(p_core, EVEN_ODDS_OF_HEAD) if by_head else p / (1 - p) / EVEN_ODDS
    return min(max(odds, 1 / MAX_ODDS), MAX_ODDS)


def odds_of(window: Evidence) -> float:
    """Return a window's odds of yes, as far as they are to be trusted."""
    odds = window.odds
    if odds is None:
        p_said = certainty(window.found)
        p_yes = p_said if window.found.text == "yes" else 1 - p_said
        odds = min(max(p_yes / (1 - p_yes) if p_yes < 1 else MAX_ODDS, 1 / MAX_ODDS), MAX_ODDS)
    return math.pow(odds, window.trust_yes if odds > 1 else window.trust_no)


def number_of(found: Answer) -> int:
    """Return the number that an answer says, 0 where it says none."""
    return int(found.text) if found.text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Presence:
    """Is there one at all."""

    margin_frac: float = MARGIN_FRAC

    def rank(self, window: Evidence) -> float:
        """Return what it adds to the mean: its area times its odds of yes."""
        return window.area * odds_of(window)

    def keep(self, parent: Evidence, parts: list[E]) -> list[E]:  # noqa: D102
        return parts

    def conclude(self, windows: Sequence[E]) -> tuple[Answer, list[E]]:  # noqa: D102
        odds = sum(map(self.rank, windows)) / sum(window.area for window in windows)
        p_yes, best = odds / (1 + odds), max(windows, key=self.rank)
        text, method = ("yes" if p_yes >= 0.5 else "no"), f"mean odds of {len(windows)} windows, by area"
        found = replace(best.found, text=text, score=max(p_yes, 1 - p_yes), score_method=method)
        return found, [best] if text == "yes" else []

    def certain(self, windows: Sequence[Evidence]) -> bool:  # noqa: D102
        return certainty(self.conclude(windows)[0]) >= CERTAIN


@dataclass(frozen=True, slots=True)
class Total:
    """How many; windows that are asked are shown without surroundings, and boxes of one thing are merged."""

    margin_frac: float = 0.0

    def rank(self, window: Evidence) -> float:  # noqa: D102
        return window.area * (1 + number_of(window.found) if window.odds is None else odds_of(window))

    def keep(self, parent: Evidence, parts: list[E]) -> list[E]:  # noqa: D102
        return parts

    def conclude(self, windows: Sequence[E]) -> tuple[Answer, list[E]]:  # noqa: D102
        total = sum(number_of(window.found) for window in windows)
        p_all = math.prod(certainty(window.found) for window in windows)
        method = f"p(digits) of all {len(windows)} windows"
        cut = any(window.found.truncated for window in windows)
        found = replace(windows[0].found, text=str(total), score=p_all, score_method=method, truncated=cut)
        return found, [window for window in windows if number_of(window.found)]

    def certain(self, windows: Sequence[Evidence]) -> bool:
        """Look everywhere: how sure a window is of a number says nothing of what is too small to be seen in it."""
        return False


@dataclass(frozen=True, slots=True)
class Detail:
    """Something about a thing."""

    margin_frac: float = MARGIN_FRAC

    def rank(self, window: Evidence) -> float:  # noqa: D102
        return certainty(window.found)

    def keep(self, parent: Evidence, parts: list[E]) -> list[E]:
        """Go on where a part is more certain than the whole, there alone."""
        better = [part for part in parts if certainty(part.found) > certainty(parent.found)]
        return [max(better, key=self.rank)] if better else []

    def conclude(self, windows: Sequence[E]) -> tuple[Answer, list[E]]:  # noqa: D102
        best = max(windows, key=self.rank)
        return best.found, [best]

    def certain(self, windows: Sequence[Evidence]) -> bool:  # noqa: D102
        return certainty(self.conclude(windows)[0]) >= CERTAIN


STATISTICS: dict[Aim, Statistic] = {Aim.PRESENCE: Presence(), Aim.COUNT: Total(), Aim.DETAIL: Detail()}
"""The law of each kind of question that windows can answer."""


def count_boxes(levels: Sequence[Sequence[E]]) -> tuple[Answer, list[E]]:
    """Return how many things there are, from the boxes of windows, and the windows that it rests on.

    That level counts whose surest window is the surest of all: a class is seen best at some scale. Where no box is sure
    enough and yet the odds of the finest windows say that the thing is there, it is one.

    Args:
        levels: tilings of the scene, the finest last.
    """
    windows = max(levels, key=lambda tiling: max(window.odds or 0.0 for window in tiling))
    merger = BoxMerger(across_labels=False)
    merger.add(box for window in windows for box in window.boxes or ())
    n_boxes, found = len(merger.finish()), windows[0].found
    there, best = Presence().conclude(levels[-1])
    if not n_boxes and there.text == "yes":
        return replace(found, text="1", score_method=f"no {found.score_method}, but {there.score_method}"), best
    return replace(found, text=str(n_boxes)), [window for window in windows if window.boxes]

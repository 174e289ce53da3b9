"""Looking closer for an answer: the overview, then windows read from the file at their own resolution.

It ends when the answer is certain or the budget is spent. A family that calls a tool names the region itself. For any
other the windows of a quadtree are asked, and the probability of their answers decides which one is split next
(`rsvlm_cli.tasks.evidence`).

Sources: the chain and its tool call, RSCoVLM (arXiv:2511.21272), which crops the shrunken overview and so adds no
detail (``paper`` does the same); a tree searched by the model's confidence, ZoomEye (arXiv:2411.16044).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from rsvlm_cli.geo.quarters import area_of, cut_quarters, grow, longest_side
from rsvlm_cli.geo.raster import Chip, with_model_px
from rsvlm_cli.geo.tiling import whole_pixels
from rsvlm_cli.results import Answer, BoxPx, Cost, Hop
from rsvlm_cli.runtime.preprocess import resize
from rsvlm_cli.scene import Progress, View
from rsvlm_cli.tasks import ask as ask_task
from rsvlm_cli.tasks.ask import is_yes_no
from rsvlm_cli.tasks.dialect import ZoomStyle
from rsvlm_cli.tasks.evidence import CERTAIN, STATISTICS, Evidence, certainty
from rsvlm_cli.tasks.exchange import Request, require_whole
from rsvlm_cli.tasks.zoom import Aim, aim_of, call_request, named_labels, parse_call, zoomed_request

BUDGET_TOKENS = 16_384
"""Tokens of a search without ``--max-tokens``, for each symmetry a window is asked in: about a hundred windows with
nano, about twenty with the 1B model."""

READ_SIDES = 4
"""A window is read at so many times the model's side at the most: memory does not grow with the scene."""

KEPT_BYTES = 64 * 2**20
"""Of the features of windows, kept for the next question about the scene."""

NEAREST = math.sqrt(2)
"""A window up to this factor larger than a leaf is one: halves of it would be further from a leaf's size."""

SAME_FRAC = 0.9
"""A named region of more than this share of the picture is no closer look."""

Answered = tuple[Answer, list[Hop]]


def answer(view: View, question: str, progress: Progress | None = None) -> Answered:
    """Answer a question about a view, looking closer where the settings say so and it can help.

    Returns:
        The answer with its cost, and every window looked at beyond the overview, in order.

    Raises:
        ReplyTruncated: if a tool call was cut by the context's end.
    """
    settings, aim, dialect, one_date = view.scene.settings, aim_of(question), view.scene.dialect, len(view.chips) == 1
    chain = dialect.zoom is ZoomStyle.TOOL_CALL and one_date and aim is not Aim.COUNT
    # What is decoded, and two pictures of one prompt, are looked at upright alone.
    budget = _Budget(view, progress, view.scene.tta if is_yes_no(question) and not chain else 1)
    if settings.zoom == "off" or aim is Aim.WHOLE:
        return budget.pay(look_once(view, question)), []
    return (_Chain(view, question, budget) if chain else _Search(view, question, aim, budget)).run()


def look_once(view: View, question: str, asked: Request | None = None) -> Answer:
    """Answer from one view alone; ``asked`` is the request if it is not the plain one."""
    asked = asked or ask_task.request(view.scene.dialect, question, n_images=len(view.chips))
    if asked.candidates:
        return ask_task.read_yes_no(question, view.score(asked))
    return ask_task.read(question, view.generate(asked))


class _Budget:
    """What an answer has cost so far, and whether there is room for more.

    Attributes:
        n_symmetries: in how many a window is shown.
    """

    def __init__(self, view: View, progress: Progress | None, n_symmetries: int) -> None:
        settings, self._engine, self._progress = view.scene.settings, view.scene.engine, progress
        self._tokens_before, self._start = self._engine.tokens_fed, time.perf_counter()
        self._picture_tokens = view.scene.bundle.manifest.image.tokens * len(view.chips) * n_symmetries
        self.max_tokens, self.max_hops = settings.max_tokens or BUDGET_TOKENS * n_symmetries, settings.max_hops
        self.n_symmetries, self.n_hops = n_symmetries, 0

    @property
    def tokens(self) -> int:
        """Computed so far."""
        return self._engine.tokens_fed - self._tokens_before

    def allows(self, n_hops: int) -> bool:
        """Say whether so many more windows are within the budget, at the price of those so far."""
        if self.max_hops is not None and self.n_hops + n_hops > self.max_hops:
            return False
        each = max(self._picture_tokens, self.tokens // (1 + self.n_hops))
        return self.tokens + n_hops * each <= self.max_tokens

    def count_hop(self) -> int:
        """Count a window and return its number."""
        self.n_hops += 1
        if self._progress:
            most = self.max_tokens // self._picture_tokens
            self._progress(self.n_hops, max(self.n_hops, min(most, self.max_hops or most)))
        return self.n_hops

    def pay(self, found: Answer) -> Answer:
        """Return the answer with its cost."""
        seconds = round(time.perf_counter() - self._start, 4)
        return replace(found, cost=Cost(windows=1 + self.n_hops, tokens=self.tokens, seconds=seconds))


class _Looker:
    """Shows windows of a view: read from the file, or cut from the picture of the view that the model saw."""

    def __init__(self, view: View, question: str, budget: _Budget) -> None:
        self.view, self.scene, self.question, self.budget = view, view.scene, question, budget
        self.from_overview = self.scene.settings.zoom == "paper"

    def ask(self, window_px: BoxPx, ask_view: Callable[[View], Answer]) -> tuple[View, Answer, Hop] | None:
        """Show a window and answer from it; None where it holds next to no data."""
        start, tokens = time.perf_counter(), self.budget.tokens
        view = self._show(window_px)
        if view is None:
            return None
        found = ask_view(view)
        hop = Hop(
            label="looked",
            box_px=view.window_px,
            score=found.score,
            score_method=found.score_method,
            question=self.question,
            step=self.budget.count_hop(),
            answer=found.text,
            read_from="overview" if self.from_overview else "file",
            model_gsd_m=with_model_px(view.chips[0].source, self.scene.bundle.manifest.image.size).model_gsd_m,
            tokens=self.budget.tokens - tokens,
            seconds=round(time.perf_counter() - start, 4),
        )
        return view, found, hop

    def _show(self, window_px: BoxPx) -> View | None:
        """Show a window, or what is kept of it since the last question."""
        kept, n_symmetries = self.scene.closer, self.budget.n_symmetries
        key = (window_px, n_symmetries)
        if key in kept:
            kept.move_to_end(key)
            return kept[key]
        view = self._crop(window_px) if self.from_overview else self._read(window_px)
        kept[key] = None
        if view is not None:
            # Features alone answer: the pixels of a hundred windows would fill the memory.
            chips = [replace(chip, pixels=chip.pixels[:0], valid=chip.valid[:0]) for chip in view.chips]
            kept[key] = bare = View(self.scene, chips, view.features)
            bare.turned = view.turned
        manifest = self.scene.bundle.manifest
        n_bytes = 4 * manifest.image.tokens * manifest.decoder.hidden * len(self.scene.rasters) * n_symmetries
        if len(kept) > KEPT_BYTES // n_bytes:
            kept.popitem(last=False)
        return view

    def _read(self, window_px: BoxPx) -> View | None:
        side_px = READ_SIDES * self.scene.model_side_px
        return self.scene.look_closer(window_px, side_px, self.budget.n_symmetries)

    def _crop(self, window_px: BoxPx) -> View | None:
        chips = []
        for chip in self.view.chips:
            shown = resize(chip.pixels, self.scene.bundle.manifest.image)
            pixels, valid = (_cut(array, self.view.box_frac(window_px)) for array in (shown, chip.valid))
            source = replace(chip.source, window_px=window_px, valid_frac=float(valid.mean()))
            chips.append(Chip(pixels=pixels, valid=valid, source=source))
        return self.scene.show(chips, self.budget.n_symmetries)


def _cut(array: np.ndarray, box_frac: BoxPx) -> np.ndarray:
    """Return the part of ``(H, W, ...)`` that a box in shares covers, at least one pixel."""
    height, width = array.shape[:2]
    (left, right), (top, bottom) = (
        (min(math.floor(low * side + 1e-6), side - 1), math.ceil(high * side - 1e-6))
        for low, high, side in ((box_frac[0], box_frac[2], width), (box_frac[1], box_frac[3], height))
    )
    return np.ascontiguousarray(array[top : max(bottom, top + 1), left : max(right, left + 1)])


# --- the search -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look(Evidence):
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


class _Search:
    """A quadtree of windows, the most promising one split next."""

    def __init__(self, view: View, question: str, aim: Aim, budget: _Budget) -> None:
        self.view, self.question, self.budget = view, question, budget
        self.statistic, self.looker = STATISTICS[aim], _Looker(view, question, budget)
        self.leaf_px, self.known = leaf_side_px(view, question, coarsest=aim is Aim.COUNT)
        self.hops: list[Hop] = []

    def run(self) -> Answered:
        """Split until the answer is certain, no window is coarse, or the budget is spent."""
        statistic = self.statistic
        plain = look_once(self.view, self.question)
        whole = self._weigh(self.view.window_px, plain)
        tiling, concluded = [whole], (plain, [whole])
        if self._coarse(whole):
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

    def _look(self, parent: _Look, cell_px: BoxPx) -> _Look | None:
        window_px = grow(cell_px, self.statistic.margin_frac, self.view.window_px)
        asked = self.looker.ask(window_px, lambda view: look_once(view, self.question))
        if asked is None:
            return None
        _, found, hop = asked
        self.hops.append(hop)
        return replace(self._weigh(cell_px, found), hop=hop, path=parent.hops)

    def _weigh(self, cell_px: BoxPx, found: Answer) -> _Look:
        side_px = longest_side(cell_px)
        trust = 1.0 if side_px <= NEAREST * self.leaf_px else self.leaf_px / side_px
        # Of a thing whose size is not known, a coarse yes may well be right; a coarse no says little of any thing.
        trust_yes = trust if self.known else 1.0
        return _Look(cell_px=cell_px, area=area_of(cell_px), found=found, trust_yes=trust_yes, trust_no=trust)

    def _coarse(self, look: _Look) -> bool:
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


# --- the chain --------------------------------------------------------------------------------------------------------


@dataclass
class _Chain:
    """The model names a region by a tool call; each round is one of those that RSCoVLM was trained with."""

    view: View
    question: str
    budget: _Budget
    hops: list[Hop] = field(default_factory=list)

    def run(self) -> Answered:
        """Go on from region to region while it gets smaller; ``paper`` takes one round, whatever the overview says."""
        scene = self.view.scene
        paper = scene.settings.zoom == "paper"
        best, n_decided, current = None if paper else look_once(self.view, self.question), 0, self.view
        while (best is None or certainty(best) < CERTAIN) and self.budget.allows(1):
            asked = self._round(current)
            if asked is None:
                break
            current, found, hop = asked
            self.hops.append(hop)
            if best is None or certainty(found) > certainty(best):
                best, n_decided = found, len(self.hops)
            if paper or longest_side(current.window_px) <= scene.model_side_px:
                break
        hops = [replace(hop, label="decided") for hop in self.hops[:n_decided]] + self.hops[n_decided:]
        return self.budget.pay(best or look_once(self.view, self.question)), hops

    def _round(self, current: View) -> tuple[View, Answer, Hop] | None:
        """Have a region named, show it, and answer; None where it is no smaller or holds next to no data."""
        scene = current.scene
        reply = current.generate(call_request(scene.dialect, self.question))
        require_whole(reply, "tool call")
        region_px = whole_pixels(current.box_px(parse_call(reply.text, scene.bundle.manifest.image.size)))
        if area_of(region_px) > SAME_FRAC * area_of(current.window_px):
            return None
        asked = zoomed_request(scene.dialect, self.question, reply.text)
        looker = _Looker(current, self.question, self.budget)
        return looker.ask(region_px, lambda view: look_once(current.beside(view), self.question, asked))

"""A closer look: a window of a view, shown and answered from, within a budget."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rsvlm_cli.geo.raster import Chip, with_model_px
from rsvlm_cli.results import Answer, BoxPx, Cost, Hop
from rsvlm_cli.road.heads import knows, see_centres
from rsvlm_cli.runtime.preprocess import resize
from rsvlm_cli.scene import Progress, View
from rsvlm_cli.tasks import ask as ask_task
from rsvlm_cli.tasks import heads as heads_task
from rsvlm_cli.tasks.dialect import BoxStyle
from rsvlm_cli.tasks.exchange import Request
from rsvlm_cli.tasks.merge import SeenBox
from rsvlm_cli.tasks.zoom import Aim, aim_of, plain_label

BUDGET_TOKENS = 16_384
"""Tokens of a search without ``--max-tokens``, for each symmetry a window is asked in: with nano 250 windows where its
head is read and about a hundred where it is asked, with the 1B model about twenty."""

READ_SIDES = 4
"""A window is read at so many times the model's side at the most: memory does not grow with the scene."""

KEPT_BYTES = 64 * 2**20
"""Of the features of windows, kept for the next question about the scene."""

Answered = tuple[Answer, list[Hop]]


class Said(NamedTuple):
    """What a window says; the fields are those of `Evidence`."""

    found: Answer
    odds: float | None = None
    boxes: tuple[SeenBox, ...] | None = None


def label_read(view: View, question: str, aim: Aim) -> str | None:
    """Return the class whose cells answer a question, or None where the question itself is to be asked."""
    reads = view.scene.dialect.box_style is BoxStyle.REACH and len(view.chips) == 1
    if not reads or aim not in (Aim.PRESENCE, Aim.COUNT):
        return None
    entries = (view.scene.bundle.manifest.classes or {}).get("objects", ())
    return plain_label(question, [entry["label"] if isinstance(entry, dict) else str(entry) for entry in entries])


def look_once(view: View, question: str, asked: Request | None = None) -> Answer:
    """Answer from one view alone; ``asked`` is the request if it is not the plain one.

    Whether there is one, and how many, of a class that the tower's head knows, is the head's to say.
    """
    aim = aim_of(question)
    label = None if asked else label_read(view, question, aim)
    if label and knows(view, "objects", label):
        p_centre, settings, quality = see_centres(view, label), view.scene.settings, view.scene.quality
        if aim is Aim.COUNT:
            return heads_task.read_count(question, p_centre, settings.least_score(quality, "count", label))
        even = quality.get("best_thresholds", {}).get("ask", heads_task.EVEN)
        return heads_task.read_presence(question, p_centre, even)
    asked = asked or ask_task.request(view.scene.dialect, question, n_images=len(view.chips))
    if asked.candidates:
        return ask_task.read_yes_no(question, view.score(asked))
    if asked.choices:
        return ask_task.read_number(question, view.weigh(asked))
    return ask_task.read(question, view.generate(asked))


class Budget:
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
        """Say whether so many more windows are within the budget, at the price of those so far.

        A window's price is at least its picture's tokens: the tower computes them, whether or not the decoder is fed.
        """
        if self.max_hops is not None and self.n_hops + n_hops > self.max_hops:
            return False
        each = max(self._picture_tokens, self.tokens // (1 + self.n_hops))
        return (1 + self.n_hops + n_hops) * each <= self.max_tokens

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


class Looker:
    """Shows windows of a view: read from the file, or cut from the picture of the view that the model saw."""

    def __init__(self, view: View, question: str, budget: Budget) -> None:
        self.view, self.scene, self.question, self.budget = view, view.scene, question, budget
        self.from_overview = self.scene.settings.zoom == "paper"

    def ask(self, window_px: BoxPx, ask_view: Callable[[View], Said]) -> tuple[View, Said, Hop] | None:
        """Show a window and answer from it; None where it holds next to no data."""
        start, tokens = time.perf_counter(), self.budget.tokens
        view = self._show(window_px)
        if view is None:
            return None
        said = ask_view(view)
        found = said.found
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
        return view, said, hop

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
            n_bytes = sum(look.n_bytes for look in (view.features, *view.turned.values()))
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

"""What can be asked of a view and what is true: questions and replies in the exact form of the dialect.

Questions derived from boxes, masks and classes are exact where the record declares completeness; nothing is guessed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rsvlm_cli.tasks.cells import core_of, reach_of
from rsvlm_cli.tasks.dialect import GRANULARITY, BoxStyle, Dialect, Granularity, MaskStyle, PromptKind
from rsvlm_cli.tasks.grammar import BoxFrac, format_box, format_boxes, format_mask
from train.data.phrases import NOT_COUNTED, count_question, plural, presence_question
from train.data.views import View

MAX_SPOTS = 6
"""Boxes read in one training turn."""

MAX_ABSENT = 3
"""Classes that are not there and are looked for all the same: a user names ten, and a window holds one or two."""

SET_SHARE = 0.5
"""Share of a mask cell from which it is of a class."""

CHANGED_SHARE = 0.35
"""The same of change, which is often narrower than a cell."""

_CHANGE_WORDS = {"urban change": "urban", "land change": "land cover"}
"""How a set's change is called in a prompt; "land cover" is the word for any change."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its true reply.

    Attributes:
        kind: which prompt.
        user: the user text, tag included, without chat template.
        reply: what the model should write.
        topic: what the question is about, for sampling and scores, such as ``presence`` or ``count``.
        phrase: what is looked for, where the reply is read.
        cells: where the reply is read and not written, ``(G, G)`` int8: 1 set, 0 not set, -1 unknown.
        spots: cells from which a box is read: row, column, and the reach to its sides (`tasks.cells.reach_of`).
    """

    kind: PromptKind
    user: str
    reply: str
    topic: str
    phrase: str = ""
    cells: np.ndarray | None = None
    spots: tuple[tuple[int, int, tuple[float, ...]], ...] = ()

    @property
    def granularity(self) -> Granularity:
        """The expert set that serves it."""
        return GRANULARITY[self.kind]


URBAN = frozenset(
    (
        "airport",
        "center",
        "church",
        "commercial",
        "dense residential",
        "industrial",
        "medium residential",
        "parking",
        "playground",
        "port",
        "railway station",
        "school",
        "square",
        "stadium",
        "viaduct",
    )
)
RURAL = frozenset(
    ("bare land", "beach", "desert", "farmland", "forest", "meadow", "mountain", "pond", "river", "sparse residential")
)
"""AID scenes that are clearly one or the other; the rest are not asked."""

_PARTS = (("upper left", "top", "upper right"), ("left", "center", "right"), ("lower left", "bottom", "lower right"))


def part_of(x: float, y: float) -> str:
    """Name the ninth of the view in which a point lies."""
    return _PARTS[min(int(y * 3), 2)][min(int(x * 3), 2)]


class Interviewer:
    """Draws turns from a view.

    Args:
        dialect: prompts and reply forms.
        grid: cells on each side of a view's mask; the dialect's own where not given.
    """

    def __init__(self, dialect: Dialect, grid: int | None = None) -> None:
        self.dialect, self.grid = dialect, grid or dialect.mask_grid

    def turns(self, view: View, rng: np.random.Generator) -> list[Turn]:
        """Return every kind of turn the view supports, several of some kinds, in random wording."""
        if len(view.pixels) == 2:
            return self._change(view, rng) + self._said(view, rng)
        makers: tuple[Callable[[View, np.random.Generator], list[Turn]], ...] = (
            self._scene,
            self._presence,
            self._counts,
            self._composition,
            self._ground,
            self._describe,
            self._segment,
            self._said,
        )
        return [turn for maker in makers for turn in maker(view, rng)]

    # --- image ---

    def _turn(self, kind: PromptKind, reply: str, topic: str, **fields: str) -> Turn:
        return Turn(kind, self.dialect.prompts[kind].format(**fields), reply, topic)

    def _ask(self, question: str, reply: str, topic: str) -> Turn:
        return self._turn(PromptKind.ASK, reply, topic, question=question)

    def _scene(self, view: View, rng: np.random.Generator) -> list[Turn]:
        record, turns = view.record, []
        if record.captions and view.zoom > 0.5:
            turns.append(self._turn(PromptKind.CAPTION, _pick(record.captions, rng), "caption"))
        if record.scene:
            turns.append(self._turn(PromptKind.CLASSIFY, record.scene, "scene"))
            what = _pick(("What kind of place is this?", "What is the scene?", "What does this image show?"), rng)
            turns.append(self._ask(what, record.scene, "scene question"))
            if record.scene in URBAN | RURAL:
                where = _pick(("Is this area rural or urban?", "Is it a rural or an urban area?"), rng)
                turns.append(self._ask(where, "urban" if record.scene in URBAN else "rural", "rural or urban"))
        return turns

    def _said(self, view: View, rng: np.random.Generator) -> list[Turn]:
        """Return what the set itself asks and describes; it holds where the image stands as it was seen."""
        if not view.stands:
            return []
        asked = [self._ask(question, answer, "question") for question, answer in view.record.questions]
        return asked + [self._find(text, [box], "refer", rng) for text, box in view.phrases]

    def _presence(self, view: View, rng: np.random.Generator) -> list[Turn]:
        seen = {label for label, _ in view.boxes} | {label for label, *_ in view.points}
        known = {label: label in seen for label in view.complete if label not in view.coverage or label in seen}
        for label, share in view.coverage.items():
            covered = float(np.nanmean(share)) if np.isfinite(share).any() else np.nan
            if covered == 0 or covered > 0.02:
                known[label] = covered > 0
        turns = []
        for present in (True, False):
            labels = [label for label, here in known.items() if here is present]
            if labels:
                turns.append(
                    self._ask(presence_question(_pick(labels, rng), rng), "yes" if present else "no", "presence")
                )
        return turns

    def _counts(self, view: View, rng: np.random.Generator) -> list[Turn]:
        counts = dict.fromkeys((label for label in sorted(view.complete) if label not in NOT_COUNTED), 0)
        for label in [label for label, _ in view.boxes] + [label for label, *_ in view.points]:
            if label in counts:
                counts[label] += 1
        turns = []
        some = [label for label, n in counts.items() if n]
        if some:
            label = _pick(some, rng)
            turns.append(self._ask(count_question(label, rng), str(counts[label]), "count"))
        if counts and rng.random() < 0.15:
            label = _pick(list(counts), rng)
            turns.append(self._ask(count_question(label, rng), str(counts[label]), "count"))
        if len(some) >= 1 and len(counts) >= 2:
            first = _pick(some, rng)
            second = _pick([label for label in counts if label != first], rng)
            if rng.random() < 0.5:
                first, second = second, first
            question = f"Are there more {plural(first)} than {plural(second)}?"
            turns.append(self._ask(question, "yes" if counts[first] > counts[second] else "no", "comparison"))
        return turns

    def _composition(self, view: View, rng: np.random.Generator) -> list[Turn]:
        turns = []
        shares = {label: float(np.nanmean(c)) for label, c in view.coverage.items() if np.isfinite(c).mean() > 0.9}
        if shares:
            label = _pick(list(shares), rng)
            question = _pick(
                (f"How much of the image is {label}?", f"What share of the area is covered by {label}?"), rng
            )
            turns.append(self._ask(question, f"{round(shares[label] * 10) * 10} percent", "share"))
        if len(shares) >= 3:
            ranked = sorted(shares, key=lambda label: -shares[label])
            if shares[ranked[0]] > shares[ranked[1]] + 0.08:
                turns.append(self._ask("Which land cover is most common?", ranked[0], "dominant cover"))
        lone = _lone_objects(view)
        if lone:
            label, (x1, y1, x2, y2) = lone[int(rng.integers(len(lone)))]
            question = _pick(
                (f"In which part of the image is the {label}?", f"What is the position of the {label}?"), rng
            )
            turns.append(self._ask(question, part_of((x1 + x2) / 2, (y1 + y2) / 2), "position"))
        return turns

    # --- region ---

    def _ground(self, view: View, rng: np.random.Generator) -> list[Turn]:
        turns = []
        by_label: dict[str, list[BoxFrac]] = {}
        for label, box in view.boxes:
            by_label.setdefault(label, []).append(box)
        pointed: dict[str, list[BoxFrac]] = {}
        for label, x, y in view.points:
            pointed.setdefault(label, []).append((x, y, x, y))
        for label, boxes in by_label.items():
            if label in view.complete:
                turns.append(self._find(label, boxes, "ground", rng))
            if len(boxes) > 1:
                phrase, chosen = _unique_phrase(label, boxes, rng)
                if chosen is not None:
                    turns.append(self._find(phrase, [chosen], "refer", rng))
        reads = self.dialect.box_style is BoxStyle.REACH
        turns += [
            self._find(label, spots, "ground", rng)
            for label, spots in pointed.items()
            if reads and label in view.complete
        ]
        absent = [label for label in view.complete if label not in by_label and label not in pointed]
        if absent and (reads or self.dialect.no_boxes):
            some = rng.permutation(sorted(absent))[:MAX_ABSENT].tolist()
            turns += [self._find(label, [], "ground absent", rng) for label in some]
        return turns

    def _find(self, phrase: str, boxes: Sequence[BoxFrac], topic: str, rng: np.random.Generator) -> Turn:
        """Return the turn whose answer is these boxes; a box without extent is known by its centre alone."""
        reply = format_boxes(boxes, self.dialect.box_scale, self.dialect.no_boxes)
        turn = self._turn(PromptKind.GROUND, reply, topic, phrase=phrase)
        if self.dialect.box_style is BoxStyle.CORNERS:
            return turn
        cells, spots = np.zeros((self.grid, self.grid), np.int8), []
        # Small ones last: where cores overlap, the cell speaks of the smaller thing.
        for k in sorted(range(len(boxes)), key=lambda k: -_area(boxes[k])):
            core = core_of(boxes[k], self.grid)
            cells[core[:, 0], core[:, 1]] = 1
            if _area(boxes[k]):
                row, column = (int(v) for v in core[int(rng.integers(len(core)))])
                spots.append((row, column, tuple(reach_of(boxes[k], row, column, self.grid))))
        chosen = rng.permutation(len(spots))[:MAX_SPOTS]
        return replace(turn, phrase=phrase, cells=cells, spots=tuple(spots[k] for k in chosen))

    def _describe(self, view: View, rng: np.random.Generator) -> list[Turn]:
        turns = []
        for _ in range(min(2, len(view.boxes))):
            label, box = view.boxes[int(rng.integers(len(view.boxes)))]
            turns.append(
                self._turn(PromptKind.DESCRIBE, label, "describe", box=format_box(box, self.dialect.box_scale))
            )
        if view.record.complete and len(view.boxes) < 12 and rng.random() < 0.3:
            w, h = rng.uniform(0.08, 0.3, 2)
            x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
            empty = all(min(x + w, b[2]) <= max(x, b[0]) or min(y + h, b[3]) <= max(y, b[1]) for _, b in view.boxes)
            if empty and len(view.complete) >= 5:
                box_text = format_box((x, y, x + w, y + h), self.dialect.box_scale)
                turns.append(self._turn(PromptKind.DESCRIBE, "background", "describe", box=box_text))
        return turns

    # --- pixel ---

    def _segment(self, view: View, rng: np.random.Generator) -> list[Turn]:
        turns = [
            self._mask(PromptKind.SEGMENT, label, share, SET_SHARE, "segment") for label, share in view.coverage.items()
        ]
        absent = [label for label in sorted(view.complete) if label not in view.coverage and _absent(view, label)]
        if absent and rng.random() < 0.3:
            empty = np.zeros((self.grid, self.grid), np.float32)
            turns.append(self._mask(PromptKind.SEGMENT, _pick(absent, rng), empty, SET_SHARE, "segment"))
        return [turn for turn in turns if turn is not None]

    def _mask(self, kind: PromptKind, label: str, share: np.ndarray, least: float, topic: str) -> Turn | None:
        """Return the turn whose answer is the cells of which ``least`` is covered; None where too few are known."""
        known = np.isfinite(share)
        cells = np.where(known, np.nan_to_num(share) >= least, -1).astype(np.int8)
        reads = self.dialect.mask_style is MaskStyle.CELLS
        if known.mean() < (0.2 if reads else 0.97):
            return None
        reply = format_mask(cells > 0, MaskStyle.QUADRANTS if reads else self.dialect.mask_style, label)
        turn = self._turn(kind, reply, topic, label=label)
        return replace(turn, phrase=label, cells=cells) if reads else turn

    # --- pairs ---

    def _change(self, view: View, rng: np.random.Generator) -> list[Turn]:
        turns = []
        if view.record.captions and view.zoom > 0.9:
            turns.append(self._turn(PromptKind.DESCRIBE_CHANGE, _pick(view.record.captions, rng), "change caption"))
        for label, share in view.coverage.items():
            word = _CHANGE_WORDS.get(label, label)
            words = [word]
            if word not in ("urban", "land cover") and view.record.source in ("scenes", "composites"):
                words.append("land cover")
            masks = [self._mask(PromptKind.DETECT_CHANGE, w, share, CHANGED_SHARE, "change mask") for w in words]
            turns += [turn for turn in masks if turn is not None]
            changed = float(np.nanmean(share)) if np.isfinite(share).any() else np.nan
            if changed == 0 or changed > 0.01:
                forms = (
                    "Has anything changed?",
                    f"Has any {word} changed?",
                    "Is there a change between the two images?",
                )
                turns.append(self._ask(_pick(forms, rng), "yes" if changed > 0 else "no", "change presence"))
        return turns


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _area(box: BoxFrac) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _absent(view: View, label: str) -> bool:
    return all(label != seen for seen, _ in view.boxes) and all(label != seen for seen, *_ in view.points)


def _lone_objects(view: View) -> list[tuple[str, BoxFrac]]:
    labels = [label for label, _ in view.boxes]
    return [(label, box) for label, box in view.boxes if label in view.complete and labels.count(label) == 1]


def _unique_phrase(label: str, boxes: list[BoxFrac], rng: np.random.Generator) -> tuple[str, BoxFrac | None]:
    """Return a phrase that fits exactly one of several boxes by a clear margin, or None."""
    measures: dict[str, Callable[[BoxFrac], float]] = {
        "largest": lambda b: (b[2] - b[0]) * (b[3] - b[1]),
        "smallest": lambda b: -(b[2] - b[0]) * (b[3] - b[1]),
        "leftmost": lambda b: -(b[0] + b[2]) / 2,
        "rightmost": lambda b: (b[0] + b[2]) / 2,
        "topmost": lambda b: -(b[1] + b[3]) / 2,
        "bottommost": lambda b: (b[1] + b[3]) / 2,
    }
    word = _pick(list(measures), rng)
    ranked = sorted(boxes, key=measures[word], reverse=True)
    best, second = measures[word](ranked[0]), measures[word](ranked[1])
    clear = abs(best - second) > (0.3 * abs(best) if word in ("largest", "smallest") else 0.06)
    return f"{word} {label}", ranked[0] if clear else None

"""Box text and mask text, and their inverses: the only home of both laws, shared by training and runtime.

Boxes
    ``[x1, y1, x2, y2]``, integers in [0, scale]; a coordinate is ``v / scale`` of the image's width or height, so the
    inverse of ``v = round(frac * scale)``. Several boxes are separated by one space.
Masks, ``runs``
    ``grid`` rows separated by newlines; a row is ``label*count`` runs separated by ", " whose counts sum to ``grid``;
    ``others`` is the background. Source: RSUniVLM, 24 x 24.
Masks, ``quadrants``
    ``grid / 2`` lines of ``grid / 2`` characters; each character is a 2 x 2 block of cells, drawn by the Unicode
    quadrant of the same shape (``░`` is empty). One token a block, and its distribution over the 16 shapes gives each
    cell's own probability.

Every grammar is an automaton over UTF-8 bytes: `start`, `step`, `accepts`. States are hashable, so the runtime can keep
the set of admissible tokens for each state. A reply that the automaton does not accept cannot be decoded.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

from rsvlm_cli.errors import ReplyMalformed, UsageError
from rsvlm_cli.tasks.dialect import MaskStyle

BACKGROUND = "others"

QUADRANTS = "░▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
"""Index = 1 (upper left) + 2 (upper right) + 4 (lower left) + 8 (lower right)."""

BoxFrac = tuple[float, float, float, float]
"""``x1, y1, x2, y2`` as shares of the image the model saw, in [0, 1], origin upper left."""

S = TypeVar("S", bound=Hashable)


class Grammar(Protocol[S]):
    """A set of byte strings, as an automaton."""

    def start(self) -> S:
        """Return the state before the first byte."""

    def step(self, state: S, byte: int) -> S | None:
        """Return the state after one more byte, or None where that byte cannot follow."""

    def accepts(self, state: S) -> bool:
        """Say whether the text may end here."""


def matches(grammar: Grammar[S], text: str) -> bool:
    """Say whether the grammar produces ``text``."""
    state: S | None = grammar.start()
    for byte in text.encode():
        state = grammar.step(state, byte) if state is not None else None
    return state is not None and grammar.accepts(state)


# --- choices ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """One of several fixed texts."""

    texts: tuple[str, ...]

    def start(self) -> bytes:  # noqa: D102
        return b""

    def step(self, state: bytes, byte: int) -> bytes | None:  # noqa: D102
        longer = state + bytes([byte])
        return longer if any(text.encode().startswith(longer) for text in self.texts) else None

    def accepts(self, state: bytes) -> bool:  # noqa: D102
        return any(text.encode() == state for text in self.texts)


@dataclass(frozen=True)
class Count:
    """A whole number in [0, 10 ** max_digits), without leading zeros."""

    max_digits: int = 4

    def start(self) -> bytes:  # noqa: D102
        return b""

    def step(self, state: bytes, byte: int) -> bytes | None:  # noqa: D102
        fits = 0x30 <= byte <= 0x39 and state != b"0" and len(state) < self.max_digits
        return state + bytes([byte]) if fits else None

    def accepts(self, state: bytes) -> bool:  # noqa: D102
        return bool(state)


# --- boxes ------------------------------------------------------------------------------------------------------------


def format_box(box: BoxFrac, scale: int) -> str:
    """Write one box; each side at least one step long, so that no box is empty."""
    x1, y1, x2, y2 = (round(min(max(v, 0.0), 1.0) * scale) for v in box)
    x1, y1 = min(x1, scale - 1), min(y1, scale - 1)
    return f"[{x1}, {y1}, {max(x2, x1 + 1)}, {max(y2, y1 + 1)}]"


def format_boxes(boxes: Iterable[BoxFrac], scale: int, no_boxes: str | None) -> str:
    """Write boxes in their order, or the family's word for none."""
    return " ".join(format_box(box, scale) for box in boxes) or (no_boxes or "")


def parse_boxes(text: str, scale: int, no_boxes: str | None) -> list[BoxFrac]:
    """Read box text; the inverse of `format_boxes` up to rounding.

    Raises:
        ReplyMalformed: if the text is not of the grammar.
    """
    if no_boxes is not None and text == no_boxes:
        return []
    if not matches(BoxList(scale=scale, no_boxes=None, max_boxes=text.count("[") or 1), text):
        raise ReplyMalformed(f"reply is no list of boxes: {text[:60]!r}", text)
    boxes = []
    for part in text[1:-1].split("] ["):
        x1, y1, x2, y2 = (int(v) / scale for v in part.split(", "))
        boxes.append((x1, y1, x2, y2))
    return boxes


@dataclass(frozen=True)
class BoxList:
    """One to ``max_boxes`` boxes with x1 < x2 <= scale and y1 < y2 <= scale, or the word for none.

    A state is ``(n_closed_boxes, earlier numbers of this box, text since the last number)``.
    """

    scale: int
    no_boxes: str | None
    max_boxes: int = 100

    def start(self) -> tuple[int, tuple[int, ...], str]:  # noqa: D102
        return (0, (), "")

    def step(self, state: tuple[int, tuple[int, ...], str], byte: int) -> tuple[int, tuple[int, ...], str] | None:
        """Follow one byte."""
        n_closed, numbers, text = state
        char = chr(byte)
        begins_none = (self.no_boxes or "").startswith(text + char)
        if n_closed == -1 or (n_closed == 0 and not numbers and begins_none):
            return (-1, (), text + char) if begins_none else None
        if char.isascii() and char.isdigit():
            return self._digit(n_closed, numbers, text, char)
        if text[-1:].isdigit():
            number = int(text.lstrip("[, "))
            if number < self._low(numbers):
                return None  # "8" may still become 88; it may not stay 8
            if len(numbers) < 3 and char == ",":
                return (n_closed, (*numbers, number), ",")
            return (n_closed + 1, (), "]") if len(numbers) == 3 and char == "]" else None
        expected = {("", 0): "[", ("]", 0): " ", (" ", 0): "["}.get((text, len(numbers)), " " if text == "," else None)
        if char != expected or (text == "]" and n_closed >= self.max_boxes):
            return None
        return (n_closed, numbers, ", " if text == "," else char)

    def accepts(self, state: tuple[int, tuple[int, ...], str]) -> bool:  # noqa: D102
        n_closed, _, text = state
        return text == "]" if n_closed >= 0 else text == self.no_boxes

    def _digit(
        self, n_closed: int, numbers: tuple[int, ...], text: str, char: str
    ) -> tuple[int, tuple[int, ...], str] | None:
        lead = text.rstrip("0123456789")
        if lead not in ("[", ", ") or (lead == "[") != (not numbers):
            return None
        digits = text[len(lead) :] + char
        if len(digits) > 1 and digits[0] == "0":
            return None
        # A first corner leaves room for a second.
        high = self.scale if len(numbers) >= 2 else self.scale - 1
        return (n_closed, numbers, lead + digits) if _reaches(digits, self._low(numbers), high) else None

    def _low(self, numbers: tuple[int, ...]) -> int:
        """Return the least value of the next number: a second corner lies beyond the first."""
        return numbers[len(numbers) - 2] + 1 if len(numbers) >= 2 else 0


def _reaches(digits: str, low: int, high: int) -> bool:
    """Say whether ``digits``, or a longer number that begins with them, lies in [low, high]."""
    first = last = int(digits)
    while first <= high:
        if last >= low:
            return True
        if first == 0:
            return False
        first, last = first * 10, last * 10 + 9
    return False


# --- masks ------------------------------------------------------------------------------------------------------------


def format_mask(cells: np.ndarray, style: MaskStyle, label: str) -> str:
    """Write a mask.

    Args:
        cells: ``(grid, grid)`` bool, row 0 at the top.
        style: the text's form.
        label: the class word of the cells that are set (``runs`` only).
    """
    if style is MaskStyle.QUADRANTS:
        c = cells.astype(np.uint8)
        index = c[0::2, 0::2] + 2 * c[0::2, 1::2] + 4 * c[1::2, 0::2] + 8 * c[1::2, 1::2]
        return "\n".join("".join(QUADRANTS[i] for i in row) for row in index)
    rows = []
    for row in cells:
        edges = [0, *(np.flatnonzero(row[1:] != row[:-1]) + 1), len(row)]
        rows.append(", ".join(f"{label if row[a] else BACKGROUND}*{b - a}" for a, b in pairwise(edges)))
    return "\n".join(rows)


def parse_mask(text: str, style: MaskStyle, grid: int, labels: Sequence[str]) -> np.ndarray:
    """Read a mask; the inverse of `format_mask`.

    Args:
        text: the reply.
        style: the text's form.
        grid: cells on each side.
        labels: the class words that may occur beside the background (``runs`` only).

    Returns:
        ``(grid, grid)`` uint8, 0 background, k for ``labels[k - 1]``; ``quadrants`` knows one label.

    Raises:
        ReplyMalformed: if the text is not of the grammar.
    """
    if not matches(mask_grammar(style, grid, labels), text):
        raise ReplyMalformed(f"reply is no {grid} x {grid} mask: {text[:60]!r}", text)
    if style is MaskStyle.QUADRANTS:
        index = np.array([[QUADRANTS.index(char) for char in line] for line in text.split("\n")], np.uint8)
        cells = np.zeros((grid, grid), np.uint8)
        for bit, (dy, dx) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            cells[dy::2, dx::2] = (index >> bit) & 1
        return cells
    value = {BACKGROUND: 0} | {label: k for k, label in enumerate(labels, start=1)}
    runs = [[run.rsplit("*", 1) for run in line.split(", ")] for line in text.split("\n")]
    return np.array([[value[label] for label, n in row for _ in range(int(n))] for row in runs], np.uint8)


def mask_grammar(style: MaskStyle, grid: int, labels: Sequence[str]) -> Grammar[Any]:
    """Return the automaton of a mask reply."""
    return QuadrantMask(grid) if style is MaskStyle.QUADRANTS else RunMask(grid, tuple(labels))


@dataclass(frozen=True)
class QuadrantMask:
    """``grid / 2`` lines of ``grid / 2`` quadrant characters. A state is ``(line, column, bytes of a character)``."""

    grid: int

    def start(self) -> tuple[int, int, bytes]:  # noqa: D102
        return (0, 0, b"")

    def step(self, state: tuple[int, int, bytes], byte: int) -> tuple[int, int, bytes] | None:
        """Follow one byte."""
        line, column, partial = state
        side = self.grid // 2
        if column == side:
            return (line + 1, 0, b"") if byte == 0x0A and line + 1 < side else None
        longer = partial + bytes([byte])
        if longer in _QUADRANT_BYTES:
            return (line, column + 1, b"")
        return (line, column, longer) if longer in _QUADRANT_STARTS else None

    def accepts(self, state: tuple[int, int, bytes]) -> bool:  # noqa: D102
        return state == (self.grid // 2 - 1, self.grid // 2, b"")


_QUADRANT_BYTES = frozenset(char.encode() for char in QUADRANTS)
_QUADRANT_STARTS = frozenset(char[:n] for char in _QUADRANT_BYTES for n in (1, 2))


@cache
def _run_starts(labels: tuple[str, ...], last: str, separator: bytes) -> frozenset[bytes]:
    """Return every beginning of a run up to its count, the run before having the label ``last``."""
    runs = [separator + f"{word}*".encode() for word in (BACKGROUND, *labels) if word != last]
    return frozenset(run[:n] for run in runs for n in range(1, len(run) + 1))


@dataclass(frozen=True)
class RunMask:
    """``grid`` rows of ``label*count`` runs, counts summing to ``grid``, neighbours different.

    A state is ``(row, columns left, label of the last run, text since the last run ended)``.

    Raises:
        UsageError: if a label is the background's or holds what the mask text is made of.
    """

    grid: int
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.labels:
            raise UsageError("a mask wants at least one label")
        for label in self.labels:
            if not label or label == BACKGROUND or any(part in label for part in ("*", ",", "\n")):
                raise UsageError(
                    f"label {label!r} cannot be masked: wanted words without * or comma, not {BACKGROUND!r}"
                )

    def start(self) -> tuple[int, int, str, bytes]:  # noqa: D102
        return (0, self.grid, "", b"")

    def step(self, state: tuple[int, int, str, bytes], byte: int) -> tuple[int, int, str, bytes] | None:
        """Follow one byte."""
        row, left, last, text = state
        star = text.find(b"*")
        if star >= 0:
            return self._count(row, left, last, text, star, byte)
        longer = text + bytes([byte])
        starts = _run_starts(self.labels, last, b", " if left < self.grid else b"")
        return (row, left, last, longer) if longer in starts else None

    def accepts(self, state: tuple[int, int, str, bytes]) -> bool:  # noqa: D102
        row, left, _, text = state
        return row == self.grid - 1 and self._pending(text) == left

    def _pending(self, text: bytes) -> int:
        digits = text.partition(b"*")[2]
        return int(digits) if digits else 0

    def _count(
        self, row: int, left: int, last: str, text: bytes, star: int, byte: int
    ) -> tuple[int, int, str, bytes] | None:
        pending = self._pending(text)
        label = text[:star].removeprefix(b", ").decode()
        if 0x30 <= byte <= 0x39:
            digits = text[star + 1 :].decode() + chr(byte)
            fits = digits[0] != "0" and int(digits) <= left
            return (row, left, last, text + bytes([byte])) if fits else None
        if byte == 0x0A and pending == left and row + 1 < self.grid:
            return (row + 1, self.grid, "", b"")
        if byte == 0x2C and 0 < pending < left:
            return (row, left - pending, label, b",")
        return None

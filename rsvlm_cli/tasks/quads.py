"""Turned boxes as RSCoVLM writes them, a line each: the grammar of a reply, and its reader.

``quads``
    ``x1,y1,x2,y2,x3,y3,x4,y4 label``: the vertices.
``obbs``
    ``x,y,w,h,a label``: the middle, width and height, and how many degrees the width is turned clockwise on screen.

Numbers are whole pixels of the picture that the model sees. The reader looks for as many numbers with commas between as
the form has: it reads JSON, too (``{"quadrant bbox": [...], "label": "ship"}``, ``"oriented bbox"``), and passes over a
line that is broken.
Source: RSCoVLM, ``training/data/dense_det_dataset.py``, with its angles and its order of vertices.
"""

import re
from dataclasses import dataclass

import numpy as np

from rsvlm_cli.tasks.dialect import BoxStyle
from rsvlm_cli.tasks.grammar import BoxFrac

PointFrac = tuple[float, float]
QuadFrac = tuple[PointFrac, PointFrac, PointFrac, PointFrac]
"""Four vertices ``x, y`` as shares of the image the model saw, clockwise on screen from the smallest y, then x.

Of a thing that an edge cuts, a vertex may lie beyond it, below 0 or above 1.
"""

N_NUMBERS = {BoxStyle.QUADS: 8, BoxStyle.OBBS: 5}

_NUMBER = r"-?\d+(?:\.\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:\s*,\s*{_NUMBER})*")


def order_vertices(points: np.ndarray) -> QuadFrac:
    """Order four points ``(4, 2)`` clockwise on screen around their mean, from the one with the smallest y, then x."""
    x, y = (points - points.mean(axis=0)).T
    ring = points[np.argsort(np.arctan2(y, x), kind="stable")].tolist()
    first = ring.index(min(ring, key=lambda point: (point[1], point[0])))
    return tuple((x, y) for x, y in ring[first:] + ring[:first])  # type: ignore[return-value]


def hull_of(quad: QuadFrac) -> BoxFrac:
    """Return the upright box around four vertices."""
    xs, ys = zip(*quad, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def parse_quads(text: str, style: BoxStyle, size_px: tuple[int, int]) -> list[tuple[QuadFrac, tuple[int, int]]]:
    """Read turned boxes, without those that are no convex outline around a middle in the picture.

    Args:
        text: the reply.
        style: ``quads`` or ``obbs``.
        size_px: width and height of the picture that the model sees.

    Returns:
        Each box, and from where to where in the text its numbers stand.
    """
    found = []
    for match in _NUMBERS.finditer(text):
        numbers = [float(v) for v in match[0].split(",")]
        if len(numbers) == N_NUMBERS[style]:
            points = np.reshape(numbers, (4, 2)) if style is BoxStyle.QUADS else _corners(*numbers)
            quad = order_vertices(points / size_px)
            if _is_outline(np.array(quad)):
                found.append((quad, match.span()))
    return found


def _corners(x: float, y: float, width: float, height: float, angle_deg: float) -> np.ndarray:
    """Return the corners ``(4, 2)`` of a rectangle around its middle."""
    angle = np.radians(angle_deg)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    return np.array([(x, y) + (i * width * along + j * height * across) / 2 for i in (-1, 1) for j in (-1, 1)])


def _is_outline(ring: np.ndarray) -> bool:
    """Say whether a ring ``(4, 2)`` turns right at each vertex, around a middle in the picture, near to it."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    around = np.vstack([ring.mean(axis=0), (ring - 0.5) / 3 + 0.5])
    return bool(turns.min() > 0 and around.min() >= 0 and around.max() <= 1)


@dataclass(frozen=True)
class BoxLines:
    """One to ``max_lines`` lines of numbers with commas between, a blank and the label, or the word for none.

    A state is ``(closed lines, closed numbers of this line, text since)``.
    """

    label: str
    n_numbers: int
    no_boxes: str | None
    max_lines: int
    max_digits: int = 5

    def start(self) -> tuple[int, int, bytes]:  # noqa: D102
        return (0, 0, b"")

    def step(self, state: tuple[int, int, bytes], byte: int) -> tuple[int, int, bytes] | None:
        """Follow one byte."""
        n_lines, n_numbers, text = state
        longer = text + bytes([byte])
        if n_numbers == self.n_numbers:
            if longer == self._tail:
                return (n_lines + 1, 0, b"")
            return (n_lines, n_numbers, longer) if self._tail.startswith(longer) else None
        if (n_lines, n_numbers) == (0, 0) and self._none.startswith(longer):
            return (0, 0, longer)
        digits, is_last = text.removeprefix(b"-"), n_numbers == self.n_numbers - 1
        if digits.isdigit() and byte == ord(" " if is_last else ","):
            return (n_lines, n_numbers + 1, b" " if is_last else b"")
        if 0x30 <= byte <= 0x39:
            fits = digits != b"0" and len(digits) < self.max_digits and (digits.isdigit() or not digits)
            return (n_lines, n_numbers, longer) if fits and n_lines < self.max_lines else None
        return (n_lines, n_numbers, longer) if longer == b"-" and n_lines < self.max_lines else None

    def accepts(self, state: tuple[int, int, bytes]) -> bool:  # noqa: D102
        n_lines, n_numbers, text = state
        return text == self._none if text else n_lines > 0 and n_numbers == 0

    @property
    def _tail(self) -> bytes:
        return f" {self.label}\n".encode()

    @property
    def _none(self) -> bytes:
        return (self.no_boxes or "").encode()

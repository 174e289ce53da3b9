"""One augmented look at a record: pixels as the model sees them, with every label carried along.

Frames: a record's labels are in image pixels; a view's are shares of the view, in [0, 1], origin upper left.
"""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rsvlm_cli.runtime import symmetry
from rsvlm_cli.tasks.grammar import BoxFrac
from train.data.records import UNLABELLED, Record

Window = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewLaw:
    """How views are cut.

    Attributes:
        size_px: side of the square the model sees.
        grid: cells a side of a mask.
        augment: False gives the whole image, unchanged.
        min_visible: share of a box that must lie inside a crop for the box to count.
        max_hidden: a box with less than `min_visible` but more than this inside makes its label's list incomplete.
        min_side: shortest side of a box, as a share of the view, that the model can be asked for.
    """

    size_px: int = 128
    grid: int = 16
    augment: bool = True
    min_visible: float = 0.45
    max_hidden: float = 0.1
    min_side: float = 0.018


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the model sees of a record and what is true of it.

    Attributes:
        record: where it comes from.
        pixels: one or two ``(S, S, 3)`` uint8 RGB.
        boxes: label and box of each object that is visible enough.
        points: label and centre of each object known by its centre alone.
        complete: labels of which every visible instance is listed.
        coverage: share of each mask cell that a label covers, ``(grid, grid)`` float32, NaN where unlabelled.
        zoom: share of the image's area that the view shows.
        stands: it shows the whole image, unturned, so that what was said of the image holds.
        phrases: description and box of what is described, where it stands.
    """

    record: Record
    pixels: tuple[np.ndarray, ...]
    boxes: tuple[tuple[str, BoxFrac], ...]
    points: tuple[tuple[str, float, float], ...]
    complete: frozenset[str]
    coverage: dict[str, np.ndarray]
    zoom: float
    stands: bool = False
    phrases: tuple[tuple[str, BoxFrac], ...] = ()


UPRIGHT_SHARE = 0.7
"""Of the views of a record with questions or descriptions, those that show it as it stands."""


class ImageStore:
    """Decoded images and masks, kept in memory while they fit: decoding costs more than the step.

    Args:
        most_bytes: what is kept; beyond it the ones that were not asked for longest go.
    """

    def __init__(self, most_bytes: int = 8 << 30) -> None:
        self.most_bytes, self._bytes = most_bytes, 0
        self._arrays: OrderedDict[Path, np.ndarray] = OrderedDict()

    def load(self, path: Path, mode: str) -> np.ndarray:
        """Return ``(H, W, 3)`` uint8 for mode RGB, ``(H, W)`` uint8 for mode L."""
        if path in self._arrays:
            self._arrays.move_to_end(path)
            return self._arrays[path]
        with Image.open(path) as image:
            # Index masks may be palette files: their indices are the values, not their colours.
            plain = image if mode == "L" and image.mode in ("L", "P") else image.convert(mode)
            array = np.array(plain)
        self._arrays[path] = array
        self._bytes += array.nbytes
        while self._bytes > self.most_bytes and len(self._arrays) > 1:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array


def make_view(record: Record, folder: Path, store: ImageStore, law: ViewLaw, rng: np.random.Generator) -> View:
    """Cut, turn and recolour one view of a record.

    Args:
        record: the record.
        folder: its prepared set.
        store: decoded images.
        law: how.
        rng: all randomness.
    """
    images = [store.load(folder / path, "RGB") for path in record.images]
    height, width = images[0].shape[:2]
    whole = (0, 0, width, height)
    # What was said of the image as it stands can be asked of such views alone.
    upright = not law.augment or (bool(record.questions or record.phrases) and rng.random() < UPRIGHT_SHARE)
    window = whole if upright else _choose_window(record, width, height, rng)
    turn = 0 if upright else int(rng.integers(8))
    pixels = []
    for image in images:
        crop = Image.fromarray(image[window[1] : window[3], window[0] : window[2]])
        shown = symmetry.turn(np.asarray(crop.resize((law.size_px, law.size_px), Image.Resampling.BICUBIC)), turn)
        pixels.append(_recolour(shown, rng) if law.augment else np.ascontiguousarray(shown))
    boxes, incomplete = _carry_boxes(record, window, turn, law)
    coverage = _carry_mask(record, folder, store, window, turn, law.grid)
    return View(
        record=record,
        pixels=tuple(pixels),
        boxes=boxes,
        points=_carry_points(record, window, turn),
        complete=frozenset(record.complete) - incomplete,
        coverage=coverage,
        zoom=(window[2] - window[0]) * (window[3] - window[1]) / (width * height),
        stands=window == whole and turn == 0,
        phrases=_carry_phrases(record, width, height) if window == whole and turn == 0 else (),
    )


def _choose_window(record: Record, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    short = min(width, height)
    if short < 48:
        return (0, 0, width, height)
    located = bool(record.objects or record.points or record.mask)
    if rng.random() < (0.25 if located else 0.2):
        return (0, 0, width, height)
    low = max(min(96, short), 0.3 * short) if located else 0.72 * short
    side = float(np.exp(rng.uniform(np.log(low), np.log(short))))
    aspect = float(np.exp(rng.uniform(-0.25, 0.25)))
    w, h = min(width, round(side * aspect**0.5)), min(height, round(side / aspect**0.5))
    if record.objects and rng.random() < 0.6:
        x1, y1, x2, y2 = record.objects[int(rng.integers(len(record.objects)))].box_px
        x = (x1 + x2) / 2 - w * rng.uniform(0.2, 0.8)
        y = (y1 + y2) / 2 - h * rng.uniform(0.2, 0.8)
    else:
        x, y = rng.uniform(0, width - w + 1), rng.uniform(0, height - h + 1)
    left, top = int(min(max(x, 0), width - w)), int(min(max(y, 0), height - h))
    return (left, top, left + w, top + h)


def _turn_point(x: float, y: float, turn: int) -> tuple[float, float]:
    """Where `symmetry.turn` takes a point of the unit square."""
    for _ in range(turn % 4):
        x, y = y, 1 - x
    return (1 - x, y) if turn >= 4 else (x, y)


def _to_view(x: float, y: float, window: Window, turn: int) -> tuple[float, float]:
    left, top, right, bottom = window
    return _turn_point((x - left) / (right - left), (y - top) / (bottom - top), turn)


def _carry_boxes(
    record: Record, window: Window, turn: int, law: ViewLaw
) -> tuple[tuple[tuple[str, BoxFrac], ...], frozenset[str]]:
    boxes: list[tuple[str, BoxFrac]] = []
    incomplete: set[str] = set()
    left, top, right, bottom = window
    for item in record.objects:
        x1, y1, x2, y2 = item.box_px
        cut = (max(x1, left), max(y1, top), min(x2, right), min(y2, bottom))
        visible = max(cut[2] - cut[0], 0) * max(cut[3] - cut[1], 0) / max((x2 - x1) * (y2 - y1), 1e-9)
        if visible <= law.max_hidden:
            continue
        ax, ay = _to_view(cut[0], cut[1], window, turn)
        bx, by = _to_view(cut[2], cut[3], window, turn)
        box = (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))
        if visible < law.min_visible or min(box[2] - box[0], box[3] - box[1]) < law.min_side:
            incomplete.add(item.label)
        else:
            boxes.append((item.label, box))
    boxes.sort(key=lambda b: (b[1][1], b[1][0]))
    return tuple(boxes), frozenset(incomplete)


def _carry_phrases(record: Record, width: int, height: int) -> tuple[tuple[str, BoxFrac], ...]:
    """Return each description and its box as shares of the whole image."""
    corners = ((item.label, item.box_px) for item in record.phrases)
    return tuple((text, (x1 / width, y1 / height, x2 / width, y2 / height)) for text, (x1, y1, x2, y2) in corners)


def _carry_points(record: Record, window: Window, turn: int) -> tuple[tuple[str, float, float], ...]:
    points = ((label, *_to_view(x, y, window, turn)) for label, x, y in record.points)
    return tuple((label, x, y) for label, x, y in points if 0 <= x < 1 and 0 <= y < 1)


def _carry_mask(
    record: Record, folder: Path, store: ImageStore, window: tuple[int, int, int, int], turn: int, grid: int
) -> dict[str, np.ndarray]:
    if record.mask is None:
        return {}
    index = store.load(folder / record.mask, "L")[window[1] : window[3], window[0] : window[2]]

    def share(cells: np.ndarray) -> np.ndarray:
        image = Image.fromarray(cells.astype(np.float32), mode="F")
        return symmetry.turn(np.asarray(image.resize((grid, grid), Image.Resampling.BOX)), turn)

    known = share(index != UNLABELLED)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            label: np.where(known >= 0.5, share(index == k) / known, np.nan).astype(np.float32)
            for k, label in enumerate(record.mask_labels, start=1)
        }


def _recolour(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary exposure, contrast, gamma, colour cast and sharpness as sensors and seasons do."""
    values = np.arange(256, dtype=np.float32) / 255
    gamma, gain, lift = np.exp(rng.normal(0, 0.18)), np.exp(rng.normal(0, 0.12)), rng.normal(0, 0.03)
    cast = np.exp(rng.normal(0, 0.06, 3))
    table = np.clip((values[:, None] ** gamma - 0.5) * gain * cast + 0.5 + lift, 0, 1)
    table = np.round(table * 255).astype(np.uint8)
    out = np.stack([table[pixels[..., c], c] for c in range(3)], -1)
    if rng.random() < 0.08:
        out = np.repeat(out.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    if rng.random() < 0.15:
        small = int(pixels.shape[0] * rng.uniform(0.4, 0.9))
        soft = Image.fromarray(out).resize((small, small), Image.Resampling.BILINEAR)
        out = np.asarray(soft.resize(pixels.shape[1::-1], Image.Resampling.BICUBIC))
    return np.ascontiguousarray(out)

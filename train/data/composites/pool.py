"""What composites are made of: objects cut out of prepared sets, and ground to put them on.

A pool belongs to one side of the split and reads no record of the other, so nothing can leak between them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from rsvlm_cli.errors import InputError
from train.data.records import RECORDS_FILE, LabelledBox, Record, read_records

Box = tuple[float, float, float, float]

_SPORTS = ("tennis court", "basketball court", "baseball diamond", "ground track field")

CUT_SETS = {
    "buildings-openaerialmap": ("building",),
    "nwpu-vhr10": ("airplane", "ship", "storage tank", *_SPORTS),
}
"""Which objects are cut from which set: those whose masks follow the outline and that make sense elsewhere."""

BOX_SETS = {"aerial-cars": ("car",), "neon-trees": ("tree",)}
"""Sets without masks whose objects nearly fill an upright box: a car along an axis, a crown."""

GROUND_SETS = (*CUT_SETS, *BOX_SETS, "aid150-rsicd")
COMPANIONS = {
    "airplane": ("airplane",),
    "ship": ("ship", "harbor"),
    "storage tank": ("storage tank",),
    **dict.fromkeys(_SPORTS, _SPORTS),
}
"""What stands only where others of its kind do: it is pasted on ground that holds one of these."""

OPEN_SCENES = frozenset({"bare land", "desert", "meadow", "farmland", "beach", "mountain", "forest", "river", "pond"})
"""Scenes of the set without boxes that take pasted objects, in pairs only: what else they hold is not known."""

MARGIN_PX = 12
MIN_SIDE_PX = 12


@dataclass(frozen=True, slots=True)
class Cutout:
    """One object with the ground around it.

    Attributes:
        label: class word.
        rgb: ``(h, w, 3)`` float32, margin included.
        opacity: ``(h, w)`` float32, 1 on the object.
        shade: ``(h, w)`` float32, how much darker than the open ground its shadow is, 0 to 1.
        ground: mean colour of the open ground around it, ``(3,)``.
        gsd_m: metres a pixel, or None.
        box_px: of the object inside ``rgb``.
    """

    label: str
    rgb: np.ndarray
    opacity: np.ndarray
    shade: np.ndarray
    ground: np.ndarray
    gsd_m: float | None
    box_px: Box


@dataclass(frozen=True, slots=True)
class Ground:
    """A background.

    Attributes:
        image: ``(H, W, 3)`` uint8.
        objects: what it holds of the ``complete`` classes.
        complete: classes of which nothing else is in it.
        gsd_m: metres a pixel, or None.
        place: source and place, unique among all sets.
    """

    image: np.ndarray
    objects: tuple[LabelledBox, ...]
    complete: tuple[str, ...]
    gsd_m: float | None
    place: str


class Pool:
    """The cut-outs and grounds of one side of the split."""

    def __init__(self, data: Path, split: Literal["train", "val"], sets: tuple[str, ...] = GROUND_SETS) -> None:
        """Read the records of the prepared sets below ``data``, those of ``split`` alone.

        Raises:
            InputError: if there is neither an object to cut out nor ground to put it on.
        """
        self.split = split
        self._folders = {name: data / name for name in sets if (data / name / RECORDS_FILE).exists()}
        self.records = [record for folder in self._folders.values() for record in _of_split(folder, split)]
        self.sites: dict[str, list[tuple[Record, LabelledBox]]] = {}
        for record in self.records:
            wanted = (CUT_SETS if record.mask else BOX_SETS).get(record.source, ())
            for item in record.objects:
                if item.label in wanted and _stands_alone(item, record.objects) and _fits_shape(item):
                    self.sites.setdefault(item.label, []).append((record, item))
        if not self.sites:
            raise InputError(f"{data}: no {split} object to cut out, wanted a prepared set of {', '.join(CUT_SETS)}")
        self.grounds = {label: self._grounds_for(label) for label in self.sites}
        self.open_grounds = [r for r in self.records if r.scene in OPEN_SCENES and not r.complete]
        self._load_cached = lru_cache(maxsize=256)(self._load)

    def cut_out(self, rng: np.random.Generator, label: str, gsd_m: float | None) -> Cutout | None:
        """Return a random object of a class, sampled about as finely as ``gsd_m``; None if its mask is unfit."""
        sites = self.sites[label]
        for _ in range(12):
            record, item = sites[int(rng.integers(len(sites)))]
            if gsd_m is not None and record.gsd_m is not None and not 0.3 <= record.gsd_m / gsd_m <= 1.6:
                continue
            image, mask = self._load_cached(record.source, record.images[0], record.mask)
            if mask is None:
                return cut_out(image, _shape_in_box(image.shape, item), item, record.gsd_m)
            return cut_out(image, mask == record.mask_labels.index(label) + 1, item, record.gsd_m)
        return None

    def _grounds_for(self, label: str) -> list[Record]:
        """Return the records in whose images every object of a class is known and where one would stand."""
        companions = COMPANIONS.get(label)
        return [
            record
            for record in self.records
            if label in record.complete
            and (companions is None or any(item.label in companions for item in record.objects))
        ]

    def _load(self, source: str, image: str, mask: str | None) -> tuple[np.ndarray, np.ndarray | None]:
        folder = self._folders[source]
        with Image.open(folder / image) as picture:
            rgb = np.asarray(picture.convert("RGB"))
        if mask is None:
            return rgb, None
        with Image.open(folder / mask) as picture:
            return rgb, np.asarray(picture)

    def ground(self, rng: np.random.Generator, record: Record, side_px: int) -> Ground | None:
        """Cut a square window out of a record's image; None if no window leaves its objects whole.

        Args:
            rng: chooses the window.
            record: with one image.
            side_px: of the ground; a window up to 1.4 times as large is scaled to it.
        """
        image, _ = self._load_cached(record.source, record.images[0], None)
        height, width = image.shape[:2]
        largest = min(height, width)
        for _ in range(8):
            side = min(int(side_px * rng.uniform(0.8, 1.4)), largest) if largest > side_px else largest
            x, y = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
            objects = _inside(record.objects, (x, y, x + side, y + side), side_px / side)
            if objects is None:
                continue
            window = Image.fromarray(image[y : y + side, x : x + side])
            window = window.resize((side_px, side_px), Image.Resampling.BICUBIC) if side != side_px else window
            gsd_m = None if record.gsd_m is None else record.gsd_m * side / side_px
            return Ground(np.asarray(window), objects, record.complete, gsd_m, f"{record.source}/{record.place}")
        return None


def _of_split(folder: Path, split: str) -> Iterator[Record]:
    return (record for record in read_records(folder) if record.split == split and len(record.images) == 1)


def _stands_alone(item: LabelledBox, objects: tuple[LabelledBox, ...]) -> bool:
    """Say whether an object is large enough and no other one comes near it."""
    x1, y1, x2, y2 = item.box_px
    if min(x2 - x1, y2 - y1) < MIN_SIDE_PX:
        return False
    return not any(
        other is not item
        and min(x2, other.box_px[2]) > max(x1, other.box_px[0]) - 1
        and min(y2, other.box_px[3]) > max(y1, other.box_px[1]) - 1
        for other in objects
    )


def _fits_shape(item: LabelledBox) -> bool:
    """Say whether a box of a class without masks tells the outline: a car's is long only when it lies along an axis."""
    x1, y1, x2, y2 = item.box_px
    aspect = (x2 - x1) / (y2 - y1)
    return item.label != "car" or max(aspect, 1 / aspect) > 1.9


def _shape_in_box(shape: tuple[int, ...], item: LabelledBox) -> np.ndarray:
    """Return the pixels of a shape in a box, ``(H, W)`` bool: an ellipse for a tree, a rounded rectangle else."""
    x1, y1, x2, y2 = item.box_px
    y, x = np.mgrid[: shape[0], : shape[1]]
    across = np.abs((x + 0.5 - (x1 + x2) / 2) / (x2 - x1) * 2)
    down = np.abs((y + 0.5 - (y1 + y2) / 2) / (y2 - y1) * 2)
    power = 2 if item.label == "tree" else 6
    return across**power + down**power <= 0.92


def _inside(
    objects: tuple[LabelledBox, ...], window: tuple[int, int, int, int], scale: float
) -> tuple[LabelledBox, ...] | None:
    """Return a window's objects in its own pixels, or None if it cuts one in a way that leaves its presence open."""
    found = []
    for item in objects:
        x1, y1, x2, y2 = item.box_px
        sx1, sy1 = max(x1, window[0]), max(y1, window[1])
        sx2, sy2 = min(x2, window[2]), min(y2, window[3])
        seen = max(sx2 - sx1, 0) * max(sy2 - sy1, 0) / max((x2 - x1) * (y2 - y1), 1e-6)
        if seen == 0:
            continue
        if seen < 0.7:
            return None
        box = (
            (sx1 - window[0]) * scale,
            (sy1 - window[1]) * scale,
            (sx2 - window[0]) * scale,
            (sy2 - window[1]) * scale,
        )
        found.append(LabelledBox(label=item.label, box_px=box))
    return tuple(found)


def cut_out(image: np.ndarray, is_object: np.ndarray, item: LabelledBox, gsd_m: float | None) -> Cutout | None:
    """Cut one object out by its mask.

    Args:
        image: ``(H, W, 3)`` uint8.
        is_object: ``(H, W)`` bool, pixels of its class.
        item: the object; no other of the class touches its box.
        gsd_m: of the image.

    Returns:
        The object with up to `MARGIN_PX` of ground around it, or None if the image's edge cuts it, or if its mask fills
        too little of its box.
    """
    height, width = is_object.shape
    x1, y1, x2, y2 = (
        int(item.box_px[0]),
        int(item.box_px[1]),
        int(np.ceil(item.box_px[2])),
        int(np.ceil(item.box_px[3])),
    )
    if x1 < 2 or y1 < 2 or x2 > width - 2 or y2 > height - 2:
        return None
    left, top, right, bottom = max(x1 - MARGIN_PX, 0), max(y1 - MARGIN_PX, 0), x2 + MARGIN_PX, y2 + MARGIN_PX
    rgb = image[top:bottom, left:right].astype(np.float32)
    everything = is_object[top:bottom, left:right]
    own = np.zeros_like(everything)
    own[y1 - top : y2 - top, x1 - left : x2 - left] = is_object[y1:y2, x1:x2]
    if own.sum() < 0.25 * (x2 - x1) * (y2 - y1):
        return None
    ring = ~everything & (_blurred(own, 4.0) > 0.02)
    if ring.sum() < 20:
        return None
    grey = rgb.mean(axis=2)
    open_grey = float(np.percentile(grey[ring], 65))
    lit = ring & (grey > 0.75 * open_grey)
    darker = np.clip(1 - grey / max(open_grey, 1.0), 0, 0.7) * (grey < 0.78 * open_grey) * ~everything
    near = np.clip(_blurred(own, 3.5) * 4, 0, 1)
    shade = np.asarray(Image.fromarray((darker * near).astype(np.float32)).resize(own.shape[::-1]), np.float32)
    ys, xs = np.nonzero(own)
    box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    ground = rgb[lit].mean(axis=0) if lit.any() else rgb[ring].mean(axis=0)
    return Cutout(item.label, rgb, own.astype(np.float32), shade, ground, gsd_m, box)


def _blurred(mask: np.ndarray, radius_px: float) -> np.ndarray:
    picture = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius_px))
    return np.asarray(picture, np.float32) / 255

"""Reading what several published layouts share: sides, drawn masks, folders of image and mask, boxes, dark images.

Axes: H rows, W columns.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from rsvlm_cli.errors import InputError
from rsvlm_cli.geo.stretch import AUTO_PERCENTILES, StretchRule, fit_stretch
from train.data.convert.source import PreparedSet, Split
from train.data.records import LabelledBox, Record

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")

MIN_SIDE_PX = 3.0
"""What is thinner than this, most often a sliver at the image's edge, cannot be seen."""

SCENE_BLOCK = 10
"""Images cut from one scene lie next to each other in the numbering of a set that names no scenes."""

BLOCKS_TO_VAL = 7
"""Of so many consecutive blocks one is val, so that classes in a row all have their share."""


TRAIN_NAMES = frozenset({"train", "training", "trainval", "tier"})
VAL_NAMES = frozenset({"val", "valid", "validation", "test", "testing", "hold"})


def side_of(name: str) -> Split | None:
    """Return the side that a published folder or list means by its name; None where it means none.

    Of a test side nothing may be learnt either, so it is val.
    """
    words = set(re.findall(r"[a-z]+", name.lower()))
    return "train" if words & TRAIN_NAMES else "val" if words & VAL_NAMES else None


def side_folders(root: Path) -> list[tuple[Path, Split | None]]:
    """Return the folders that name a side, with it; where there is none, the root itself."""
    named = [(path, side_of(path.name)) for path in sorted(root.iterdir()) if path.is_dir()]
    return [(path, side) for path, side in named if side] or [(root, None)]


def read_side_lists(folder: Path) -> dict[str, Split]:
    """Return the side of each stem that ``train.txt``, ``val.txt`` and ``test.txt`` list; empty without such files.

    A stem that several files list, such as ``trainval.txt``, is val where a val or test file lists it.
    """
    sides: dict[str, Split] = {}
    paths = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    for path in sorted(paths, key=lambda path: side_of(path.stem) == "val"):
        if side := side_of(path.stem):
            sides |= dict.fromkeys((Path(line).stem for line in path.read_text(encoding="utf-8").split()), side)
    return sides


def find_image(folder: Path, stem: str) -> Path:
    """Return the image of a stem.

    Raises:
        InputError: if there is none.
    """
    for suffix in IMAGE_SUFFIXES:
        for path in (folder / f"{stem}{suffix}", folder / f"{stem}{suffix.upper()}"):
            if path.is_file():
                return path
    raise InputError(f"{folder}: no image {stem}.* in it (wanted one of {', '.join(IMAGE_SUFFIXES)})")


def list_images(folder: Path) -> list[Path]:
    """Return the images of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def read_drawn_mask(path: Path) -> np.ndarray:
    """Read a two-colour mask as it looks: bright is set.

    By colour, not by palette index: published palettes put black last as often as first.

    Returns:
        ``(H, W)`` bool.
    """
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).max(axis=2) > 127


def read_rgb(path: Path) -> np.ndarray:
    """Read an image as ``(H, W, 3)`` uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def stretch_like_16_bit(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Spread dark 8 bit images as the product spreads 16 bit ones.

    For satellite images that were published as 8 bit without a stretch: a user's rasters of that sensor have 16 bit, so
    the model meets them stretched.

    Args:
        images: all dates of one place, ``(H, W, 3)`` uint8 each; they share one law.

    Returns:
        The images in their order, ``(H, W, 3)`` uint8.
    """
    low, high = AUTO_PERCENTILES
    samples = [np.concatenate([image[..., band].ravel() for image in images]) for band in range(3)]
    law = fit_stretch(StretchRule(kind="percentiles", low=low, high=high), samples, "uint8")
    return [np.moveaxis(law.apply(np.moveaxis(image, 2, 0)), 0, 2) for image in images]


def block_of(stem: str) -> str:
    """Return the place ``PREFIX block B`` of an image ``PREFIX_N`` or ``N``: ``SCENE_BLOCK`` numbers are a block."""
    prefix, _, number = stem.rpartition("_")
    return f"{prefix} block {int(number) // SCENE_BLOCK}".lstrip()


def is_val_block(place: str) -> bool:
    """Say whether a place of `block_of` is val."""
    return int(place.rpartition(" ")[2]) % BLOCKS_TO_VAL == BLOCKS_TO_VAL // 2


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels."""
    with Image.open(path) as image:
        return image.size


def clip_box(label: str, box_px: tuple[float, float, float, float], size_px: tuple[int, int]) -> LabelledBox | None:
    """Cut a box to the image, or return None where less than ``MIN_SIDE_PX`` of either side is left.

    Args:
        label: class word.
        box_px: ``x1, y1, x2, y2``.
        size_px: the image's width and height.
    """
    (x1, y1, x2, y2), (width, height) = box_px, size_px
    x1, y1 = max(0.0, x1), max(0.0, y1)
    x2, y2 = min(float(width), x2), min(float(height), y2)
    if x2 - x1 < MIN_SIDE_PX or y2 - y1 < MIN_SIDE_PX:
        return None
    rounded = tuple(round(float(v), 2) for v in (x1, y1, x2, y2))
    return LabelledBox(label=label, box_px=rounded)  # type: ignore[arg-type]


def images_with_masks(
    root: Path,
    out: PreparedSet,
    label: str,
    gsd_m: float | None,
    place_of: Callable[[str], str] = str,
    add_image: Callable[[Path], str] | None = None,
    leave_out: Collection[str] = (),
) -> Iterator[Record]:
    """Convert a folder of ``images/STEM.*`` and two-colour ``masks/STEM.png``.

    Args:
        root: the set's folder.
        out: the prepared set.
        label: class word of the bright pixels.
        gsd_m: ground size of a pixel in metres, or None.
        place_of: from stem to place.
        add_image: how an image is taken over, if not as it is.
        leave_out: stems of faulty images.

    Yields:
        One record an image.

    Raises:
        InputError: if an image has no mask, or one of another size.
    """
    for path in list_images(root / "images"):
        if path.stem in leave_out:
            continue
        mask_path = root / "masks" / f"{path.stem}.png"
        if not mask_path.is_file():
            raise InputError(f"{path}: no mask {mask_path.name} beside it (take the image out, or add its mask)")
        mask = read_drawn_mask(mask_path)
        require_same_size(path, mask)
        yield out.record(
            id=path.stem,
            place=place_of(path.stem),
            images=((add_image or out.add_image)(path),),
            gsd_m=gsd_m,
            mask=out.add_mask(mask, path.stem),
            mask_labels=(label,),
        )


def require_same_size(image: Path, mask: np.ndarray) -> None:
    """Raise `InputError` if a mask ``(H, W)`` does not fit its image."""
    width, height = image_size(image)
    if mask.shape != (height, width):
        found = f"{mask.shape[1]} x {mask.shape[0]}"
        raise InputError(f"{image}: {width} x {height} px, but its mask has {found} (both must lie on one grid)")


MIN_VISIBLE = 0.45
"""Share of a box that a tile must show for the box to count there; `train.data.views.ViewLaw` has the same."""


def plan_tiles(size_px: tuple[int, int], tile_px: int) -> list[tuple[int, int, int, int]]:
    """Cut an image into tiles that share no pixel, row by row.

    Args:
        size_px: width and height.
        tile_px: about the side of a tile; the rest at the edge goes to the last one, unless it is half a tile.

    Returns:
        ``x1, y1, x2, y2`` of each.
    """

    def edges(length: int) -> list[int]:
        n = max(1, round(length / tile_px))
        return [tile_px * k for k in range(n)] + [length]

    xs, ys = edges(size_px[0]), edges(size_px[1])
    return [(x1, y1, x2, y2) for y1, y2 in pairwise(ys) for x1, x2 in pairwise(xs)]


def cut_boxes(
    boxes: Sequence[LabelledBox], tile_px: tuple[int, int, int, int]
) -> tuple[tuple[LabelledBox, ...], set[str]]:
    """Return the boxes of a tile, in its pixels, and the labels of those that it shows too little of."""
    left, top, right, bottom = tile_px
    kept, cut = [], set()
    for box in boxes:
        x1, y1, x2, y2 = box.box_px
        shown = max(0.0, min(x2, right) - max(x1, left)) * max(0.0, min(y2, bottom) - max(y1, top))
        if not shown:
            continue
        inside = clip_box(box.label, (x1 - left, y1 - top, x2 - left, y2 - top), (right - left, bottom - top))
        if inside and shown >= MIN_VISIBLE * (x2 - x1) * (y2 - y1):
            kept.append(inside)
        else:
            cut.add(box.label)
    return tuple(kept), cut


def read_index_mask(path: Path, table: Sequence[int]) -> np.ndarray:
    """Read a mask of class numbers.

    Args:
        path: the mask.
        table: the record's value for each class number.

    Returns:
        ``(H, W)`` uint8.

    Raises:
        InputError: if a number lies outside the table.
    """
    with Image.open(path) as image:
        cells = np.asarray(image if image.mode in ("L", "P", "I;16") else image.convert("L"))
    if int(cells.max(initial=0)) >= len(table):
        raise InputError(f"{path}: holds class {int(cells.max())}, wanted 0 to {len(table) - 1}")
    return np.array(table, np.uint8)[cells]

"""Reading what several published layouts share: drawn masks, folders of image and mask, boxes, dark images.

Axes: H rows, W columns.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rsvlm_cli.errors import InputError
from rsvlm_cli.geo.stretch import AUTO_PERCENTILES, StretchRule, fit_stretch
from train.data.convert.source import PreparedSet
from train.data.records import LabelledBox, Record

IMAGE_SUFFIXES = (".jpg", ".png", ".tif")

MIN_SIDE_PX = 3.0
"""What is thinner than this, most often a sliver at the image's edge, cannot be seen."""

SCENE_BLOCK = 10
"""Images cut from one scene lie next to each other in the numbering of a set that names no scenes."""

BLOCKS_TO_VAL = 7
"""Of so many consecutive blocks one is val, so that classes in a row all have their share."""


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

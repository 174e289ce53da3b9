"""Pixels to the vision graph's input: the one law of resizing and normalising, shared by training and runtime."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from rsvlm_cli.errors import InputError
from rsvlm_cli.runtime.bundle import ImageSpec

MAX_ASPECT = 200
"""Of the sides of a picture under the dynamic law. Source: Qwen2.5-VL."""


def prepare(pixels: np.ndarray, image: ImageSpec) -> np.ndarray:
    """Resize a picture and normalise it.

    Pillow's bicubic filter (antialiased where it shrinks) on uint8, to exactly ``image.size``, the aspect ratio given
    up; then ``(x / 255 - mean) / std`` for each channel. Source: RSUniVLM's processor, which resizes uint8 so too.

    Args:
        pixels: ``(H, W, 3)`` uint8, RGB.
        image: the bundle's image law.

    Returns:
        ``(3, S, S)`` float32.
    """
    return normalise(resize(pixels, image), image.mean, image.std)


def resize(pixels: np.ndarray, image: ImageSpec) -> np.ndarray:
    """Return the picture that the model sees, ``(S, S, 3)`` uint8: the first half of `prepare`."""
    return np.asarray(Image.fromarray(pixels).resize(image.size, Image.Resampling.BICUBIC))


def dynamic_size(width_px: int, height_px: int, min_px: int, max_px: int, factor: int = 28) -> tuple[int, int]:
    """Return the picture's size under the dynamic law: multiples of ``factor``, the aspect ratio nearly kept.

    Each side is rounded to a multiple; where the area then lies outside the bounds, both are scaled by one number to
    the bound, down to multiples where it was too large and up where it was too small. Source: Qwen2.5-VL's smart
    resize, which RSCoVLM (arXiv:2511.21272) takes with an area drawn from 224² to 1008² in training.

    Args:
        width_px: of the window.
        height_px: of the window.
        min_px: least area of the picture.
        max_px: greatest area of the picture.
        factor: side of the patch of raster that becomes one visual token.

    Raises:
        InputError: if one side is more than 200 times the other.
    """
    if max(width_px, height_px) > MAX_ASPECT * min(width_px, height_px):
        raise InputError(f"a window of {width_px} x {height_px} px: wanted sides of at most {MAX_ASPECT} to 1")
    sides = [max(factor, round(side / factor) * factor) for side in (width_px, height_px)]
    area = width_px * height_px
    if sides[0] * sides[1] > max_px:
        shrink = math.sqrt(area / max_px)
        sides = [max(factor, math.floor(side / shrink / factor) * factor) for side in (width_px, height_px)]
    elif sides[0] * sides[1] < min_px:
        enlarge = math.sqrt(min_px / area)
        sides = [math.ceil(side * enlarge / factor) * factor for side in (width_px, height_px)]
    return sides[0], sides[1]


def normalise(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Bring ``(H, W, 3)`` uint8 to ``(3, H, W)`` float32: ``(x / 255 - mean) / std`` for each channel."""
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    # 256 levels a channel: the law is worked out once for each level and looked up, bit for bit the same.
    tables = [(levels - np.float32(m)) / np.float32(s) for m, s in zip(mean, std, strict=True)]
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(tables)])

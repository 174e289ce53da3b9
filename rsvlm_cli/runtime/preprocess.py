"""Pixels to the vision graph's input: the one law of resizing and normalising, shared by training and runtime."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rsvlm_cli.runtime.bundle import ImageSpec


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


def normalise(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Bring ``(H, W, 3)`` uint8 to ``(3, H, W)`` float32: ``(x / 255 - mean) / std`` for each channel."""
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    # 256 levels a channel: the law is worked out once for each level and looked up, bit for bit the same.
    tables = [(levels - np.float32(m)) / np.float32(s) for m, s in zip(mean, std, strict=True)]
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(tables)])

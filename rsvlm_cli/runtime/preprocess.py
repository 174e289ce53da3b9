"""Pixels to the vision graph's input: the one law of resizing and normalising, shared by training and runtime."""

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
    resized = np.asarray(Image.fromarray(pixels).resize(image.size, Image.Resampling.BICUBIC))
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    # 256 levels a channel: the law is worked out once for each level and looked up, bit for bit the same.
    tables = [(levels - np.float32(mean)) / np.float32(std) for mean, std in zip(image.mean, image.std, strict=True)]
    return np.stack([table[resized[..., channel]] for channel, table in enumerate(tables)])

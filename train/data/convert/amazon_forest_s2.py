"""Forest masks on Sentinel-2 images of the Amazon.

Layout: ``images/N.jpg`` and ``masks/N.png``, white is forest, cloud counts as no forest.

The published 8 bit images are nearly black: reflectance was scaled without a stretch. A user's Sentinel-2 raster has 16 bit
and reaches the model stretched, so these images are stretched alike here, 2 to 98 % of all values, one range for the three
bands so that hue stays.
Source: Bragagnolo et al. 2021, Zenodo 4498086.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from train.data.convert.readers import images_with_masks
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

GSD_M = 10.0
STRETCH_PERCENTILES = (2.0, 98.0)


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image, stretched."""

    def add_stretched(path: Path) -> str:
        with Image.open(path) as image:
            return out.add_pixels(stretch(np.asarray(image.convert("RGB"))), path.stem)

    return images_with_masks(root, out, "forest", GSD_M, add_image=add_stretched)


def stretch(rgb: np.ndarray) -> np.ndarray:
    """Spread ``(rows, columns, 3)`` uint8 so that the percentiles of all values become 0 and 255."""
    low, high = np.percentile(rgb, STRETCH_PERCENTILES)
    return np.round((rgb.astype(np.float32) - low) * (255 / max(high - low, 1))).clip(0, 255).astype(np.uint8)


SOURCE = Source(
    name="amazon-forest-s2",
    folder="core/amazon-forest-s2",
    licence="CC BY 4.0; Copernicus Sentinel data",
    terms="open",
    gsd="10 m",
    teaches="forest masks",
    origin="Bragagnolo et al., Zenodo 4498086",
    convert=convert,
)

"""Forest masks on Sentinel-2 images of the Amazon.

Layout: ``images/N.jpg`` and ``masks/N.png``, white is forest, cloud counts as no forest.

The published 8 bit images are nearly black, so they are stretched here (`stretch_like_16_bit`). Of the 15 images, val
has two that show forest and clearing; a hash would choose one that is all forest.
Source: Bragagnolo et al. 2021, Zenodo 4498086.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import images_with_masks, read_rgb, stretch_like_16_bit
from train.data.convert.source import PreparedSet, Source, any_of
from train.data.records import Record

GSD_M = 10.0


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image, stretched."""

    def add_stretched(path: Path) -> str:
        (stretched,) = stretch_like_16_bit([read_rgb(path)])
        return out.add_pixels(stretched, path.stem)

    return images_with_masks(root, out, "forest", GSD_M, add_image=add_stretched)


SOURCE = Source(
    name="amazon-forest-s2",
    folder="core/amazon-forest-s2",
    licence="CC BY 4.0; Copernicus Sentinel data",
    terms="open",
    gsd="10 m",
    teaches="forest masks",
    origin="Bragagnolo et al., Zenodo 4498086",
    convert=convert,
    is_val=any_of("10268", "10388"),
)

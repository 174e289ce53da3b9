"""OSCD, the Onera Satellite Change Detection set: urban change between two Sentinel-2 dates.

Layout: ``images/CITY/pair/img1.*, img2.*`` (registered RGB) and ``labels/CITY/cm/cm.png`` (bright is change). Cities
without a label are left out. Only urban growth is labelled: crops, water and cloud are no change. The published 8 bit
images are dark, so both dates are stretched by one law (`stretch_like_16_bit`).
Source: Caye Daudt et al. 2018, IGARSS.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import list_images, read_drawn_mask, read_rgb, require_same_size, stretch_like_16_bit
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

GSD_M = 10.0


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a labelled city."""
    for label in sorted((root / "labels").glob("*/cm/cm.png")):
        city = label.parents[1].name
        paths = list_images(root / "images" / city / "pair")
        mask = read_drawn_mask(label)
        for path in paths:
            require_same_size(path, mask)
        before, after = stretch_like_16_bit([read_rgb(path) for path in paths])
        yield out.record(
            id=city,
            place=city,
            images=(out.add_pixels(before, f"{city}_before"), out.add_pixels(after, f"{city}_after")),
            gsd_m=GSD_M,
            mask=out.add_mask(mask, city),
            mask_labels=("urban change",),
        )


SOURCE = Source(
    name="oscd",
    folder="research-only/oscd",
    licence="imagery Copernicus Sentinel data, labels CC BY-NC-SA 4.0",
    terms="research only",
    gsd="10 m",
    teaches="masks of urban change",
    origin="Caye Daudt et al. 2018",
    convert=convert,
)

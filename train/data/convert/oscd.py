"""OSCD, the Onera Satellite Change Detection set: urban change between two Sentinel-2 dates.

Layout: ``images/CITY/pair/img1.*, img2.*`` (registered RGB) and ``labels/CITY/cm/cm.png`` (bright is change); as
published these are three folders, whose names end in ``Images``, ``Train Labels`` and ``Test Labels``. Cities without a
label are left out. Only urban growth is labelled: crops, water and cloud are no change. The published 8 bit
images are dark, so both dates are stretched by one law (`stretch_like_16_bit`).
Source: Caye Daudt et al. 2018, IGARSS.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from train.data.convert.readers import (
    list_images,
    read_drawn_mask,
    read_rgb,
    require_same_size,
    side_of,
    stretch_like_16_bit,
)
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

GSD_M = 10.0


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a labelled city."""
    images, *_ = [*root.glob("images"), *root.glob("*- Images")]
    for label in sorted([*root.glob("labels/*/cm/cm.png"), *root.glob("*Labels/*/cm/cm.png")]):
        city = label.parents[1].name
        paths = list_images(images / city / "pair")
        mask = read_drawn_mask(label)
        for path in paths:
            require_same_size(path, mask)
        before, after = stretch_like_16_bit([read_rgb(path) for path in paths])
        yield out.record(
            id=city,
            place=city,
            split=side_of(label.parents[2].name.removeprefix("Onera Satellite Change Detection dataset - ")),
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

PUBLISHED = replace(
    SOURCE,
    name="oscd-full",
    folder="",
    layout="Onera ... - Images/CITY/pair/, Onera ... - Train|Test Labels/CITY/cm/cm.png",
    archives={
        "Onera Satellite Change Detection dataset - Images.zip": "c50d4a2941da64e03a47ac4dec63d915",
        "Onera Satellite Change Detection dataset - Train Labels.zip": "4d2965af8170c705ebad3d6ee71b6990",
        "Onera Satellite Change Detection dataset - Test Labels.zip": "8177d437793c522653c442aa4e66c617",
    },
)

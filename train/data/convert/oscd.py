"""OSCD, the Onera Satellite Change Detection set: urban change between two Sentinel-2 dates.

Layout: ``images/CITY/pair/img1.*, img2.*`` (registered RGB) and ``labels/CITY/cm/cm.png`` (bright is change). Cities
without a label are left out. Only urban growth is labelled: crops, water and cloud are no change.
Source: Caye Daudt et al. 2018, IGARSS.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import list_images, read_drawn_mask, require_same_size
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

GSD_M = 10.0


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a labelled city."""
    for label in sorted((root / "labels").glob("*/cm/cm.png")):
        city = label.parents[1].name
        before, after = list_images(root / "images" / city / "pair")
        mask = read_drawn_mask(label)
        require_same_size(before, mask)
        require_same_size(after, mask)
        yield out.record(
            id=city,
            place=city,
            images=(out.add_image(before, f"{city}_before"), out.add_image(after, f"{city}_after")),
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

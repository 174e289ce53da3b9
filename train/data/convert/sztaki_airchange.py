"""SZTAKI AirChange: change between aerial images 5 to 23 years apart.

Layout: ``SITE_N/{im1.jpg,im2.jpg,gt.png}``. Change is new building, ploughing and planting alike. Pairs of a site are
neighbours, so a site is one place; ``Archieve`` shows the ground of ``Szada_1`` at other dates and belongs to Szada.
That leaves two places, of which Tiszadob is val.
Source: Benedek and Sziranyi 2009, IEEE TGRS 47(10).
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import read_drawn_mask, require_same_size
from train.data.convert.source import PreparedSet, Source, any_of
from train.data.records import Record

GSD_M = 1.5
SAME_GROUND = {"Archieve": "Szada"}


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a pair."""
    for label in sorted(root.glob("*/gt.png")):
        stem = label.parent.name
        site = stem.partition("_")[0]
        before, after = label.with_name("im1.jpg"), label.with_name("im2.jpg")
        mask = read_drawn_mask(label)
        require_same_size(before, mask)
        require_same_size(after, mask)
        yield out.record(
            id=stem,
            place=SAME_GROUND.get(site, site),
            images=(out.add_image(before, f"{stem}_before"), out.add_image(after, f"{stem}_after")),
            gsd_m=GSD_M,
            mask=out.add_mask(mask, stem),
            mask_labels=("land change",),
        )


SOURCE = Source(
    name="sztaki-airchange",
    folder="research-only/sztaki-airchange",
    licence="free for scientific use",
    terms="research only",
    gsd="1.5 m",
    teaches="masks of land change",
    origin="Benedek and Sziranyi 2009",
    convert=convert,
    is_val=any_of("Tiszadob"),
)

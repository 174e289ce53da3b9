"""NEON tree crowns, the early DeepForest annotations.

Layout: ``images/PLOT[_2017].jpg|tif`` and ``annotations_xml/`` (Pascal VOC) of the same stem. A plot flown in two years
is one place. Crowns are not exhaustive, in open savanna no more than in closed forest: plain trees without a box stand
in most images of SJER.
Source: Weinstein et al. 2019, Remote Sensing 11(11) 1309.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from train.data.convert.readers import clip_box, image_size, list_images
from train.data.convert.source import PreparedSet, Source
from train.data.records import LabelledBox, Record

GSD_M = 0.1


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    for path in list_images(root / "images"):
        yield out.record(
            id=path.stem,
            place=path.stem.removesuffix("_2017"),
            images=(out.add_image(path),),
            gsd_m=GSD_M,
            objects=tuple(read_voc(root / "annotations_xml" / f"{path.stem}.xml", image_size(path))),
        )


def read_voc(path: Path, size_px: tuple[int, int]) -> Iterator[LabelledBox]:
    """Yield the boxes of a Pascal VOC file, all as ``tree``: the files leave the name empty."""
    for bounds in ElementTree.parse(path).getroot().iter("bndbox"):
        x1, y1, x2, y2 = (float(bounds.findtext(key, "nan")) for key in ("xmin", "ymin", "xmax", "ymax"))
        if box := clip_box("tree", (x1, y1, x2, y2), size_px):
            yield box


SOURCE = Source(
    name="neon-trees",
    folder="core/neon-trees",
    licence="imagery NEON airborne RGB (open data policy), annotations MIT",
    terms="open",
    gsd="0.1 m",
    teaches="boxes of tree crowns",
    origin="weecology/DeepForest; Weinstein et al. 2019",
    convert=convert,
)

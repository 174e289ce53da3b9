"""DIOR-RSVG: descriptions that fit one object of an image, as Pascal VOC files with a sentence.

Layout: ``JPEGImages/N.jpg``, ``Annotations/N.xml`` (``object/{name, bndbox, description}``), and the side in
``train.txt``, ``val.txt``, ``test.txt``. The published lists count objects over all files in their order, not images,
so an image whose objects lie on several sides is val. An object that nobody described is not in the file, so no class
is complete.
Source: Zhan et al. 2023, IEEE TGRS 61, arXiv:2210.12634.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from train.data.convert.captions import tidy_caption
from train.data.convert.readers import clip_box, find_image, image_size, side_of
from train.data.convert.source import PreparedSet, Source, Split
from train.data.convert.voc import read_voc
from train.data.records import Record


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    sides = _sides_by_number(root)
    number = 0
    for path in sorted((root / "Annotations").glob("*.xml")):
        found = ElementTree.parse(path).getroot().findall("object")
        own = {sides[n] for n in range(number, number + len(found)) if n in sides}
        number += len(found)
        image = find_image(root / "JPEGImages", path.stem)
        size_px = image_size(image)
        boxes = [(label, text, clip_box(label, box_px, size_px)) for label, box_px, text in read_voc(path)]
        yield out.record(
            id=path.stem,
            place=path.stem,
            split="val" if "val" in own else "train" if own else None,
            images=(out.add_image(image),),
            objects=tuple(box for _, _, box in boxes if box),
            phrases=tuple(
                type(box)(label=tidy_caption(text), box_px=box.box_px) for _, text, box in boxes if box and text
            ),
        )


def _sides_by_number(root: Path) -> dict[int, Split]:
    """Return the side of each object, by its number over all files."""
    sides: dict[int, Split] = {}
    for path in root.glob("*.txt"):
        if side := side_of(path.stem):
            sides |= dict.fromkeys((int(word) for word in path.read_text(encoding="utf-8").split()), side)
    return sides


SOURCE = Source(
    name="dior-rsvg",
    folder="",
    licence="academic use; Google Earth imagery",
    terms="research only",
    gsd="0.5 to 30 m",
    teaches="grounding of descriptions",
    origin="Zhan et al. 2023; https://github.com/ZhanYang-nwpu/RSVG-pytorch",
    convert=convert,
    layout="JPEGImages/N.jpg, Annotations/N.xml, train|val|test.txt",
)

"""DOTA: oriented boxes as text, one file an image.

Layout: ``train|val/images/P*.png`` and ``train|val/labelTxt[-v1.x]/[labelTxt...]/P*.txt`` (or both folders without a
side): lines ``imagesource:...``, ``gsd:...``, then four corners, class and a difficulty flag. Corners become the
smallest upright box. Images are up to 20,000 px wide and are cut into tiles that share no ground; a box that a tile
shows less than half of is left out, and its class is incomplete there.
Source: Xia et al. 2018, CVPR; Ding et al. 2021, arXiv:2102.12219.
"""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from rsvlm_cli.errors import InputError
from train.data.convert.dota_example import read_label_txt
from train.data.convert.readers import cut_boxes, list_images, plan_tiles, read_rgb, side_folders
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

TILE_PX = 1024


def convert(root: Path, out: PreparedSet, *, complete: bool = False) -> Iterator[Record]:
    """Yield one record a tile.

    Args:
        root: the set's folder.
        out: the prepared set.
        complete: whether every object of a class is labelled; of DOTA's small ones many are not.
    """
    for folder, side in side_folders(root):
        texts = {path.stem: path for path in folder.glob("labelTxt*/**/*.txt")}
        labels = sorted({box.label for path in texts.values() for box in read_label_txt(path, (10**6, 10**6))[1]})
        for path in list_images(folder / "images"):
            if path.stem not in texts:
                raise InputError(f"{path}: no labelTxt*/{path.stem}.txt (wanted one for every image)")
            with Image.open(path) as image:
                size_px = image.size
            gsd_m, boxes = read_label_txt(texts[path.stem], size_px)
            pixels = read_rgb(path)
            for x1, y1, x2, y2 in plan_tiles(size_px, TILE_PX):
                stem = f"{path.stem}_{x1}_{y1}"
                objects, cut = cut_boxes(boxes, (x1, y1, x2, y2))
                yield out.record(
                    id=stem,
                    place=path.stem,
                    split=side,
                    images=(out.add_pixels(pixels[y1:y2, x1:x2], stem),),
                    gsd_m=gsd_m,
                    objects=objects,
                    complete=tuple(label for label in labels if label not in cut) if complete else (),
                )


def convert_own(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a tile of a set in which every object is labelled."""
    return convert(root, out, complete=True)


SOURCE = Source(
    name="dota",
    folder="",
    licence="academic use only",
    terms="research only",
    gsd="in each file",
    teaches="boxes of 15 to 18 object classes",
    origin="Xia et al. 2018; https://captain-whu.github.io/DOTA",
    convert=convert,
    layout="train|val/images/P*.png, train|val/labelTxt*/P*.txt",
    archives={
        "dotav1.0_images_train.tar.gz": "363b472dc3c71e7fa2f4a60223b437ea",
        "dotav1.0_annotations_train.tar.gz": "f6788257bcc4d29018344a4128e3734a",
        "dotav1.0_images_val.tar.gz": "42293219ba61d61c417ae558bbe1f2ba",
        "dotav1.0_annotations_val.tar.gz": "28155c05b1dc3a0f5cb6b9bdfef85a13",
    },
)

FORMAT = Source(
    name="dota-text",
    folder="",
    licence="yours",
    terms="your own",
    gsd="in each file",
    teaches="boxes and counts of your classes",
    origin="your own annotations",
    convert=convert_own,
    layout="images/STEM.png, labelTxt/STEM.txt, or both below train|val",
)

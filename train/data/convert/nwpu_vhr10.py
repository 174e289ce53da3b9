"""NWPU VHR-10: ten classes of objects with boxes and outlines.

Layout: ``images/N.jpg`` and ``annotations_coco.json`` (COCO: boxes ``x, y, width, height``, polygons), which also names
images that are not in a partial copy. Images with neighbouring numbers look like one scene, so a block of numbers is
one place.
Source: Cheng et al. 2014, ISPRS Journal 98, 119-132; outlines: Su et al. 2019, IGARSS.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from train.data.convert.coco import corners, draw_outlines
from train.data.convert.readers import block_of, clip_box, is_val_block
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

RARELY_LABELLED = "vehicle"
"""Vehicles are labelled in the vehicle images only, so an image without one says nothing about them."""


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image, with boxes and one mask of the classes that it shows."""
    coco = json.loads((root / "annotations_coco.json").read_text(encoding="utf-8"))
    labels = {category["id"]: category["name"].replace("_", " ") for category in coco["categories"]}
    annotations = defaultdict(list)
    for annotation in coco["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    for image in sorted(coco["images"], key=lambda image: image["file_name"]):
        path = root / "images" / image["file_name"]
        if not path.is_file():
            continue
        size_px = (image["width"], image["height"])
        found = annotations[image["id"]]
        shown = [label for key, label in labels.items() if any(a["category_id"] == key for a in found)]
        boxes = (clip_box(labels[a["category_id"]], corners(a["bbox"]), size_px) for a in found)
        outlines = [(shown.index(labels[a["category_id"]]) + 1, a["segmentation"]) for a in found]
        yield out.record(
            id=path.stem,
            place=block_of(path.stem),
            images=(out.add_image(path),),
            objects=tuple(box for box in boxes if box),
            complete=tuple(label for label in labels.values() if label != RARELY_LABELLED or label in shown),
            mask=out.add_mask(draw_outlines(outlines, size_px), path.stem),
            mask_labels=tuple(shown),
        )


SOURCE = Source(
    name="nwpu-vhr10",
    folder="research-only/nwpu-vhr10",
    licence="research purposes only; Google Earth and ISPRS Vaihingen imagery",
    terms="research only",
    gsd="about 0.13 to 3.3 m",
    teaches="boxes, masks and counts of ten object classes",
    origin="Cheng et al. 2014; outlines Su et al. 2019",
    convert=convert,
    is_val=is_val_block,
)

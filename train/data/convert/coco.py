"""COCO: boxes and polygons in one JSON file a side.

Layout: ``*.json`` or ``annotations/*.json`` whose name may say the side (``instances_train.json``), and the images,
anywhere below. Crowd regions and objects drawn as run lengths give no polygon; a crowd makes its class incomplete in
that image.
Source: Lin et al. 2014, arXiv:1405.0312; https://cocodataset.org/#format-data.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from rsvlm_cli.errors import InputError
from train.data.convert.readers import IMAGE_SUFFIXES, clip_box, image_size, side_of
from train.data.convert.source import PreparedSet, Source, Split
from train.data.records import Record


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image, with boxes and, where there are polygons, one mask of the classes that it shows."""
    paths = sorted([*root.glob("*.json"), *(root / "annotations").glob("*.json")])
    if not paths:
        raise InputError(f"{root}: no *.json in it or in annotations/, wanted a COCO annotation file")
    found = {path.name: path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES}
    for path in paths:
        coco = json.loads(path.read_text(encoding="utf-8"))
        yield from _convert_file(coco, path, found, side_of(path.stem), out)


def _convert_file(
    coco: dict[str, Any], origin: Path, found: dict[str, Path], side: Split | None, out: PreparedSet
) -> Iterator[Record]:
    labels = {category["id"]: tidy_label(category["name"]) for category in coco["categories"]}
    annotations = defaultdict(list)
    for annotation in coco["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    for image in coco["images"]:
        path = found.get(Path(image["file_name"]).name)
        if path is None:
            raise InputError(f"{origin}: names {image['file_name']}, which is nowhere below the set's folder")
        size_px = image_size(path)
        crowds = {labels[a["category_id"]] for a in annotations[image["id"]] if a.get("iscrowd")}
        single = [a for a in annotations[image["id"]] if not a.get("iscrowd")]
        boxes = (clip_box(labels[a["category_id"]], corners(a["bbox"]), size_px) for a in single)
        outlined = [a for a in single if isinstance(a.get("segmentation"), list) and a["segmentation"]]
        shown = sorted({labels[a["category_id"]] for a in outlined})
        outlines = [(shown.index(labels[a["category_id"]]) + 1, a["segmentation"]) for a in outlined]
        stem = f"{side}_{path.stem}" if side else path.stem
        yield out.record(
            id=stem,
            place=path.stem,
            split=side,
            images=(out.add_image(path, stem),),
            objects=tuple(box for box in boxes if box),
            complete=tuple(label for label in dict.fromkeys(labels.values()) if label not in crowds),
            mask=out.add_mask(draw_outlines(outlines, size_px), stem) if shown else None,
            mask_labels=tuple(shown),
        )


def tidy_label(name: str) -> str:
    """Return a class name as records want it: lower case, spaces between words."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def corners(bbox: list[float]) -> tuple[float, float, float, float]:
    """Turn ``x, y, width, height`` into ``x1, y1, x2, y2``."""
    x, y, width, height = bbox
    return (x, y, x + width, y + height)


def draw_outlines(outlines: list[tuple[int, list[list[float]]]], size_px: tuple[int, int]) -> np.ndarray:
    """Fill polygons, large before small, so that an object upon another stays visible.

    Args:
        outlines: value and rings ``x, y, x, y, ...`` in pixels of each object.
        size_px: width and height.

    Returns:
        ``(H, W)`` uint8, 0 where no polygon lies.
    """
    canvas = Image.new("L", size_px)
    draw = ImageDraw.Draw(canvas)
    rings = [(value, np.reshape(ring, (-1, 2))) for value, parts in outlines for ring in parts]
    for value, ring in sorted(rings, key=lambda item: -float(np.prod(np.ptp(item[1], axis=0)))):
        points: list[Any] = [tuple(point) for point in ring.tolist()]
        draw.polygon(points, fill=value)
    return np.asarray(canvas)


FORMAT = Source(
    name="coco",
    folder="",
    licence="yours",
    terms="your own",
    gsd="any",
    teaches="boxes, masks and counts of your classes",
    origin="your own annotations",
    convert=convert,
    layout="*.json or annotations/*.json in the form of COCO, the images anywhere below",
)

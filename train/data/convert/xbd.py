"""xBD: buildings before and after a disaster, with the damage to each.

Layout: ``train|tier3|test|hold/images/EVENT_N_{pre,post}_disaster.png`` and ``labels/`` of the same stems:
``features.xy`` holds a polygon (WKT, pixels) and ``subtype`` for each building. The pair teaches where the damage is;
the image before teaches buildings. What was not classified is unlabelled.
Source: Gupta et al. 2019, arXiv:1911.09296.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from shapely import from_wkt

from train.data.convert.readers import clip_box, find_image, image_size, side_folders
from train.data.convert.source import PreparedSet, Source
from train.data.records import UNLABELLED, Record

DAMAGE = {"no-damage": 0, "minor-damage": 1, "major-damage": 1, "destroyed": 2, "un-classified": UNLABELLED}
LABELS = ("damaged building", "destroyed building")


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a pair, and one of its image before."""
    for folder, side in side_folders(root):
        for label in sorted((folder / "labels").glob("*_post_disaster.json")):
            stem = label.stem.removesuffix("_post_disaster")
            before, after = (find_image(folder / "images", f"{stem}_{when}_disaster") for when in ("pre", "post"))
            size_px = image_size(after)
            images = (out.add_image(before), out.add_image(after))
            damage = [(DAMAGE[kind], ring) for kind, ring in read_buildings(label)]
            yield out.record(
                id=stem,
                place=stem,
                split=side,
                images=images,
                mask=out.add_mask(fill_rings(damage, size_px), stem),
                mask_labels=LABELS,
            )
            rings = [ring for _, ring in read_buildings(label.with_name(f"{stem}_pre_disaster.json"))]
            boxes = (clip_box("building", (*ring.min(axis=0), *ring.max(axis=0)), size_px) for ring in rings)
            yield out.record(
                id=f"{stem}_before",
                place=stem,
                split=side,
                images=images[:1],
                objects=tuple(box for box in boxes if box),
                complete=("building",),
                mask=out.add_mask(fill_rings([(1, ring) for ring in rings], size_px), f"{stem}_before"),
                mask_labels=("building",),
            )


def read_buildings(path: Path) -> list[tuple[str, np.ndarray]]:
    """Return damage word and outer ring ``(N, 2)`` in pixels of each building; before the disaster: ``no-damage``."""
    features = json.loads(path.read_text(encoding="utf-8"))["features"]["xy"]
    found = [(f["properties"].get("subtype", "no-damage"), from_wkt(f["wkt"])) for f in features]
    parts = [(kind, part) for kind, shape in found for part in getattr(shape, "geoms", [shape])]
    return [(kind, np.asarray(part.exterior.coords)) for kind, part in parts if not part.is_empty]


def fill_rings(rings: list[tuple[int, np.ndarray]], size_px: tuple[int, int]) -> np.ndarray:
    """Fill rings ``(N, 2)`` with their values in the order given; ``(H, W)`` uint8, 0 elsewhere."""
    canvas = Image.new("L", size_px)
    draw = ImageDraw.Draw(canvas)
    for value, ring in rings:
        draw.polygon([(x, y) for x, y in ring.tolist()], fill=value)
    return np.asarray(canvas)


SOURCE = Source(
    name="xbd",
    folder="",
    licence="CC BY-NC-SA 4.0",
    terms="research only",
    gsd="0.5 m, not stated by image",
    teaches="masks of damage to buildings; boxes, masks and counts of buildings",
    origin="Gupta et al. 2019; https://xview2.org",
    convert=convert,
    layout="train|tier3|test|hold/images/*.png, train|tier3|test|hold/labels/*.json",
    archives={
        "train_images_labels_targets.tar.gz": "a20ebbfb7eb3452785b63ad02ffd1e16",
        "test_images_labels_targets.tar.gz": "1b39c47e05d1319c17cc8763cee6fe0c",
    },
)

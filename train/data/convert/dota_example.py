"""Two images of DOTA with oriented boxes, as the devkit ships them.

Layout: ``images/P*.jpg`` and ``labelTxt/`` of the same stem: lines ``imagesource:...``, ``gsd:...``, then four corners,
class and a difficulty flag. Corners become the smallest axis-aligned box. Small instances are not all labelled, so no
class is complete.
Source: Xia et al. 2018, CVPR.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import clip_box, image_size, list_images
from train.data.convert.source import PreparedSet, Source
from train.data.records import LabelledBox, Record

LABELS = {
    "plane": "airplane",
    "large-vehicle": "large vehicle",
    "small-vehicle": "small vehicle",
    "storage-tank": "storage tank",
    "baseball-diamond": "baseball diamond",
    "tennis-court": "tennis court",
    "basketball-court": "basketball court",
    "ground-track-field": "ground track field",
    "soccer-ball-field": "soccer field",
    "swimming-pool": "swimming pool",
}
"""From DOTA's word to ours, where they differ."""


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    for path in list_images(root / "images"):
        gsd_m, objects = read_label_txt(root / "labelTxt" / f"{path.stem}.txt", image_size(path))
        yield out.record(
            id=path.stem, place=path.stem, images=(out.add_image(path),), gsd_m=gsd_m, objects=tuple(objects)
        )


def read_label_txt(path: Path, size_px: tuple[int, int]) -> tuple[float | None, list[LabelledBox]]:
    """Return the ground sampling in metres, None where the file says ``null``, and the boxes."""
    gsd_m, boxes = None, []
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == "gsd" and value != "null":
            gsd_m = float(value)
        fields = line.split()
        if len(fields) < 9:
            continue
        xs, ys = ([float(v) for v in fields[start:8:2]] for start in (0, 1))
        if box := clip_box(LABELS.get(fields[8], fields[8]), (min(xs), min(ys), max(xs), max(ys)), size_px):
            boxes.append(box)
    return gsd_m, boxes


SOURCE = Source(
    name="dota-devkit-example",
    folder="research-only/dota-devkit-example",
    licence="academic use only",
    terms="research only",
    gsd="in each file",
    teaches="boxes of ships, harbours and vehicles",
    origin="Xia et al. 2018, DOTA",
    convert=convert,
)

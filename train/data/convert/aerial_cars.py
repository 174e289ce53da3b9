"""Vehicles from the air: KIT AIS frames of Munich and drone frames of one plaza in Minsk.

Layout: ``kit-ais/`` and ``minsk/``, each with ``images/`` and ``labels_yolo/STEM.txt`` (``class cx cy w h``, shares of
the image); ``index.csv`` names the sequence of each image, ``classes.txt`` the classes. Frames of a sequence are near
duplicates, and every Minsk sequence shows the same plaza, so there are three places; the smaller Munich crossing is
val.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import image_size
from train.data.convert.source import PreparedSet, Source, any_of
from train.data.convert.yolo import read_yolo
from train.data.records import Record

LABELS = ("car", "bus", "minibus", "truck")
KIT_GSD_M = 0.15
MINSK_PLACE = "minsk plaza"


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a frame; vehicles half under trees are often unlabelled in this set."""
    classes = (root / "classes.txt").read_text(encoding="utf-8").split()
    with (root / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    for row in rows:
        path = root / row["image"]
        if not path.is_file():
            continue
        is_kit = row["sequence"].startswith("KIT_")
        objects = read_yolo(path.parents[1] / "labels_yolo" / f"{path.stem}.txt", classes, image_size(path))
        yield out.record(
            id=path.stem,
            place=row["sequence"] if is_kit else MINSK_PLACE,
            images=(out.add_image(path),),
            gsd_m=KIT_GSD_M if is_kit else None,
            objects=tuple(box for box in objects if box.label in LABELS),
            complete=LABELS,
        )


SOURCE = Source(
    name="aerial-cars",
    folder="core/aerial-cars",
    licence="KIT AIS part CC BY 3.0, Minsk part CC BY-SA",
    terms="open",
    gsd="about 0.05 to 0.15 m",
    teaches="boxes and counts of car, bus, minibus, truck",
    origin="jekhor/aerial-cars-dataset; KIT AIS vehicle set, DLR",
    convert=convert,
    is_val=any_of("KIT_MunichStreet02"),
)

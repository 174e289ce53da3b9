"""YOLO: one text file an image, boxes or outlines as shares of it.

Layout: ``images/[train|val|test/]STEM.jpg`` and ``labels/`` of the same tree; the classes in ``data.yaml``
(``names``), ``classes.txt`` or ``obj.names``. A line is ``class cx cy w h``, or ``class x y x y ...`` for an outline,
of which the smallest upright box is taken. An image without a text file shows nothing.
Source: https://docs.ultralytics.com/datasets/detect.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from rsvlm_cli.errors import InputError
from train.data.convert.coco import tidy_label
from train.data.convert.readers import clip_box, image_size, list_images, side_folders
from train.data.convert.source import PreparedSet, Source
from train.data.records import LabelledBox, Record


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    classes = [tidy_label(name) for name in read_classes(root)]
    for folder, side in side_folders(root / "images"):
        labels = root / "labels" / folder.relative_to(root / "images")
        for path in list_images(folder):
            text = labels / f"{path.stem}.txt"
            stem = f"{side}_{path.stem}" if side else path.stem
            yield out.record(
                id=stem,
                place=path.stem,
                split=side,
                images=(out.add_image(path, stem),),
                objects=tuple(read_yolo(text, classes, image_size(path))) if text.is_file() else (),
                complete=tuple(dict.fromkeys(classes)),
            )


def read_classes(root: Path) -> list[str]:
    """Return the class names in their order.

    Raises:
        InputError: if no file names them.
    """
    for name in ("classes.txt", "obj.names"):
        if (root / name).is_file():
            return [line for line in (root / name).read_text(encoding="utf-8").splitlines() if line.strip()]
    paths = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    if not paths:
        raise InputError(f"{root}: no data.yaml, classes.txt or obj.names in it (wanted the classes' names)")
    names = yaml.safe_load(paths[0].read_text(encoding="utf-8")).get("names")
    if isinstance(names, dict):
        names = [names[index] for index in sorted(names)]
    if not isinstance(names, list):
        raise InputError(f"{paths[0]}: has no list `names` (wanted the classes' names)")
    return [str(name) for name in names]


def read_yolo(path: Path, classes: list[str], size_px: tuple[int, int]) -> Iterator[LabelledBox]:
    """Yield the boxes of a label file, cut to the image.

    Raises:
        InputError: if a line is neither a box nor an outline, or its class is not listed.
    """
    width, height = size_px
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            index, *values = (float(value) for value in line.split())
            label = classes[int(index)]
            if len(values) == 4:
                cx, cy, w, h = values
                values = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            elif len(values) < 6 or len(values) % 2:
                raise ValueError
        except (ValueError, IndexError) as error:
            wanted = f"class cx cy w h or class x y x y x y ..., class below {len(classes)}"
            raise InputError(f"{path}: line {number} is {line[:60]!r}, wanted: {wanted}") from error
        xs, ys = values[0::2], values[1::2]
        corners = (min(xs) * width, min(ys) * height, max(xs) * width, max(ys) * height)
        if box := clip_box(label, corners, size_px):
            yield box


FORMAT = Source(
    name="yolo",
    folder="",
    licence="yours",
    terms="your own",
    gsd="any",
    teaches="boxes and counts of your classes",
    origin="your own annotations",
    convert=convert,
    layout="images/[train|val/]STEM.jpg, labels/[train|val/]STEM.txt, data.yaml or classes.txt",
)

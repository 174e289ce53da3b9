"""Pascal VOC: one XML file an image.

Layout: ``Annotations/STEM.xml`` (or the XML files beside the images) and ``JPEGImages/STEM.jpg`` or ``images/``; the
side in ``ImageSets/Main/{train,val,test}.txt`` where that is there. DIOR has this form.
Source: Everingham et al. 2010, IJCV 88(2).
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from rsvlm_cli.errors import InputError
from train.data.convert.coco import tidy_label
from train.data.convert.readers import clip_box, find_image, image_size, read_side_lists
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

BoxPx = tuple[float, float, float, float]


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an annotation file; every class of the set counts as labelled throughout."""
    paths = sorted((root / "Annotations").glob("*.xml")) or sorted(root.glob("*.xml"))
    if not paths:
        raise InputError(f"{root}: no Annotations/*.xml in it, wanted Pascal VOC")
    folder = next((root / name for name in ("JPEGImages", "images") if (root / name).is_dir()), root)
    sides = read_side_lists(root / "ImageSets" / "Main")
    labels = tuple(sorted({label for path in paths for label, _, _ in read_voc(path)}))
    for path in paths:
        image = find_image(folder, path.stem)
        size_px = image_size(image)
        boxes = (clip_box(label, box_px, size_px) for label, box_px, _ in read_voc(path))
        yield out.record(
            id=path.stem,
            place=path.stem,
            split=sides.get(path.stem),
            images=(out.add_image(image),),
            objects=tuple(box for box in boxes if box),
            complete=labels,
        )


def read_voc(path: Path) -> Iterator[tuple[str, BoxPx, str]]:
    """Yield label, box in pixels and description (empty where there is none) of each object of a file.

    Raises:
        InputError: if an object lacks its name or a corner.
    """
    for number, found in enumerate(ElementTree.parse(path).getroot().findall("object"), start=1):
        try:
            x1, y1, x2, y2 = (float(found.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax"))
            label = tidy_label(found.findtext("name") or "")
        except ValueError as error:
            raise InputError(f"{path}: object {number}: {error} (wanted bndbox/xmin, ymin, xmax, ymax)") from error
        if not label:
            raise InputError(f"{path}: object {number} has no name (wanted a class word)")
        yield label, (x1, y1, x2, y2), found.findtext("description") or ""


FORMAT = Source(
    name="voc",
    folder="",
    licence="yours",
    terms="your own",
    gsd="any",
    teaches="boxes and counts of your classes",
    origin="your own annotations",
    convert=convert,
    layout="Annotations/STEM.xml, JPEGImages/STEM.jpg, ImageSets/Main/train|val|test.txt if there",
)

DIOR = Source(
    name="dior",
    folder="",
    licence="academic use; Google Earth imagery",
    terms="research only",
    gsd="0.5 to 30 m",
    teaches="boxes and counts of 20 object classes",
    origin="Li et al. 2020, ISPRS Journal 159, arXiv:1909.00133",
    convert=convert,
    layout="Annotations/N.xml, JPEGImages/N.jpg, ImageSets/Main/train|val|test.txt",
    archives={
        "Images_trainval.zip": "070e9314120403e5c965d12fe5321cb0",
        "Annotations_trainval.zip": "90e045de37255c5919bbecf659b72c1a",
        "Images_test.zip": "97f3cbc86de0867624a6a34190c694ae",
    },
)

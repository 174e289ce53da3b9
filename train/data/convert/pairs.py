"""Two dates and what changed between them, in three folders: LEVIR-CD and whatever else follows it.

Layout: ``A/STEM.png`` before, ``B/STEM.png`` after, ``label/STEM.png`` (bright is change), or these below
``train|val|test/``. The folders may also be called ``before``, ``after`` and ``change``.
"""

from collections.abc import Iterator
from pathlib import Path

from rsvlm_cli.errors import InputError
from train.data.convert.readers import find_image, list_images, read_drawn_mask, require_same_size, side_folders
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

NAMES = (("A", "B", "label"), ("before", "after", "change"))


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a pair of a set that marks change of any kind."""
    return convert_pairs(root, out, "land change", None)


def convert_levir_cd(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a pair of building change; building is both new and gone."""
    return convert_pairs(root, out, "building", 0.5)


def convert_pairs(root: Path, out: PreparedSet, label: str, gsd_m: float | None) -> Iterator[Record]:
    """Yield one record a pair.

    Args:
        root: the set's folder.
        out: the prepared set.
        label: class word of the bright pixels.
        gsd_m: ground size of a pixel in metres, or None.

    Raises:
        InputError: if a pair is not whole, or its images and mask differ in size.
    """
    for folder, side in side_folders(root):
        names = next((names for names in NAMES if (folder / names[0]).is_dir()), None)
        if names is None:
            raise InputError(f"{folder}: holds neither A/, B/, label/ nor before/, after/, change/")
        for before in list_images(folder / names[0]):
            after, drawn = (find_image(folder / name, before.stem) for name in names[1:])
            mask = read_drawn_mask(drawn)
            require_same_size(before, mask)
            require_same_size(after, mask)
            stem = f"{side}_{before.stem}" if side else before.stem
            yield out.record(
                id=stem,
                place=stem,
                split=side,
                images=(out.add_image(before, f"{stem}_before"), out.add_image(after, f"{stem}_after")),
                gsd_m=gsd_m,
                mask=out.add_mask(mask, stem),
                mask_labels=(label,),
            )


FORMAT = Source(
    name="pairs",
    folder="",
    licence="yours",
    terms="your own",
    gsd="any",
    teaches="masks of change",
    origin="your own annotations",
    convert=convert,
    layout="before/, after/, change/ (or A/, B/, label/) with one STEM.png a pair, or these below train|val/",
)

LEVIR_CD = Source(
    name="levir-cd",
    folder="",
    licence="research only; Google Earth imagery",
    terms="research only",
    gsd="0.5 m",
    teaches="masks of building change",
    origin="Chen and Shi 2020, Remote Sensing 12(10); https://justchenhao.github.io/LEVIR",
    convert=convert_levir_cd,
    layout="train|val|test/{A,B,label}/STEM.png",
    archives={
        "train.zip": "a638e71f480628652dea78d8544307e4",
        "val.zip": "f7b857978524f9aa8c3bf7f94e3047a4",
        "test.zip": "07d5dd89e46f5c1359e2eca746989ed9",
    },
)

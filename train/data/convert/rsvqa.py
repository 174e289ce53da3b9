"""RSVQA: questions and answers made from OpenStreetMap, at low (Sentinel-2) and high (aerial) resolution.

Layout: ``*_split_{train,val,test}_{questions,answers}.json`` and the images, ``Images_LR/ID.tif`` or ``Data/ID.tif``.
An entry that is not ``active`` is a gap in the numbering. The high resolution has two test sides, and both are val.
Areas, which nobody can read off a picture to the square metre, are left out.
Source: Lobry et al. 2020, IEEE TGRS 58(12), arXiv:2003.07333.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rsvlm_cli.errors import InputError
from train.data.convert.readers import find_image, side_of
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

LEFT_OUT = frozenset({"area"})


def convert_low(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image of the low resolution set."""
    return convert(root, out, 10.0)


def convert_high(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image of the high resolution set."""
    return convert(root, out, 0.15)


def convert(root: Path, out: PreparedSet, gsd_m: float) -> Iterator[Record]:
    """Yield one record an image of a side, with all its questions.

    Raises:
        InputError: if a question has no answer, or the folder holds no question file.
    """
    files = sorted(root.glob("*_split_*_questions.json"))
    if not files:
        raise InputError(f"{root}: no *_split_*_questions.json in it, wanted RSVQA")
    folder = next((root / name for name in ("Images_LR", "Data", "images") if (root / name).is_dir()), root)
    for path in files:
        answers = {
            a["question_id"]: a["answer"] for a in _active(path.with_name(path.name.replace("questions", "answers")))
        }
        by_image: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for question in _active(path):
            if question["type"] in LEFT_OUT:
                continue
            if question["id"] not in answers:
                raise InputError(f"{path}: question {question['id']} has no answer in the file beside it")
            by_image[question["img_id"]].append((question["question"], str(answers[question["id"]]).lower()))
        for number, questions in sorted(by_image.items()):
            yield out.record(
                id=str(number),
                place=str(number),
                split=side_of(path.stem),
                images=(out.add_image(find_image(folder, str(number))),),
                gsd_m=gsd_m,
                questions=tuple(dict.fromkeys(questions)),
            )


def _active(path: Path) -> list[dict[str, Any]]:
    (entries,) = json.loads(path.read_text(encoding="utf-8")).values()
    return [entry for entry in entries if entry["active"]]


LOW = Source(
    name="rsvqa-lr",
    folder="",
    licence="CC BY 4.0; imagery Copernicus Sentinel data",
    terms="open",
    gsd="10 m",
    teaches="questions on presence, comparison, counts, rural or urban",
    origin="Lobry et al. 2020; https://zenodo.org/records/6344334",
    convert=convert_low,
    layout="LR_split_*_{questions,answers}.json, Images_LR/N.tif",
)

HIGH = Source(
    name="rsvqa-hr",
    folder="",
    licence="CC BY 4.0; imagery USGS (US public domain)",
    terms="open",
    gsd="0.15 m",
    teaches="questions on presence, comparison, counts",
    origin="Lobry et al. 2020; https://zenodo.org/records/6344367",
    convert=convert_high,
    layout="USGS_split_*_{questions,answers}.json, Data/N.tif",
)

"""Captions in the form of RSICD: five sentences an image and the side it lies on, in one JSON file.

Layout: ``dataset_rsicd.json`` or ``dataset.json`` (``images: [{filename, split, sentences: [{raw}]}]``) and beside it
one folder with the images. UCM-Captions and Sydney-Captions have the same form. File names of RSICD start with the
scene class (``airport_12.jpg``) where the image comes from AID, else they are numbers.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rsvlm_cli.errors import InputError
from train.data.convert.captions import distinct_captions
from train.data.convert.readers import side_of
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    files = sorted(root.glob("dataset*.json"))
    if not files:
        raise InputError(f"{root}: no dataset*.json in it, wanted captions in the form of RSICD")
    found = {path.name: path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".tif", ".png")}
    for image in read_sentences(files[0]):
        path = found.get(image["filename"])
        if path is None:
            raise InputError(f"{files[0]}: names {image['filename']}, which is nowhere below {root}")
        scene = re.fullmatch(r"([a-z]+)_\d+", path.stem)
        yield out.record(
            id=path.stem,
            place=path.stem,
            split=side_of(image["split"]),
            images=(out.add_image(path),),
            captions=distinct_captions(sentence["raw"] for sentence in image["sentences"]),
            scene=SCENES.get(scene[1], scene[1]) if scene else None,
        )


def read_sentences(path: Path) -> list[dict[str, Any]]:
    """Return the images of a caption file: ``filename``, ``split``, ``sentences`` with ``raw``."""
    return json.loads(path.read_text(encoding="utf-8"))["images"]


SCENES = {
    "bareland": "bare land",
    "baseballfield": "baseball field",
    "denseresidential": "dense residential",
    "mediumresidential": "medium residential",
    "railwaystation": "railway station",
    "sparseresidential": "sparse residential",
    "storagetanks": "storage tanks",
}
"""From the file name's word to AID's."""

SOURCE = Source(
    name="rsicd",
    folder="",
    licence="not stated; imagery of Google Earth, Baidu, MapABC and Tianditu",
    terms="research only",
    gsd="not stated",
    teaches="human captions, 30 scene classes",
    origin="Lu et al. 2017, IEEE TGRS 56(4); https://github.com/201528014227051/RSICD_optimal",
    convert=convert,
    layout="dataset_rsicd.json, RSICD_images/",
)

UCM_CAPTIONS = Source(
    name="ucm-captions",
    folder="",
    licence="captions not stated; imagery USGS (US public domain)",
    terms="research only",
    gsd="0.3 m",
    teaches="human captions",
    origin="Qu et al. 2016, CITS",
    convert=convert,
    layout="dataset.json, imgs/",
)

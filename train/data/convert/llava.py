"""LLaVA conversations: a JSON list of images with turns of a human and a model.

Layout: ``*.json`` (``[{id, image, conversations: [{from, value}, ...]}]``) and the images by their paths in it, below
the same folder. Every pair of turns becomes a question that stands alone: packed turns do not see each other. Turns
that speak in coordinates are left out, for they are in the grammar of another family; their number is logged.
Source: Liu et al. 2023, arXiv:2304.08485.
"""

import json
import logging
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from rsvlm_cli.errors import InputError
from train.data.convert.readers import side_of
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

log = logging.getLogger(__name__)

COORDINATES = re.compile(r"<(?:box|quad|seg|\d)|[\[({]\s*<?\d+(?:\.\d+)?>?\s*,")
ASKING, ANSWERING = ("human", "user"), ("gpt", "assistant")


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an entry that has an image and a question."""
    paths = sorted(root.glob("*.json"))
    if not paths:
        raise InputError(f"{root}: no *.json in it, wanted LLaVA conversations")
    n_left_out = 0
    for path in paths:
        for number, entry in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            turns = list(read_turns(entry["conversations"]))
            kept = [turn for turn in turns if not any(COORDINATES.search(text) for text in turn)]
            n_left_out += len(turns) - len(kept)
            named = entry.get("image", ())
            names = [named] if isinstance(named, str) else list(named)
            if not kept or len(names) not in (1, 2):
                continue
            stem = f"{path.stem}_{number}"
            yield out.record(
                id=stem,
                place=" ".join(names),
                split=side_of(path.stem),
                images=tuple(out.add_image(_image(root, name, path), f"{stem}_{k}") for k, name in enumerate(names)),
                questions=tuple(kept),
            )
    if n_left_out:
        log.warning("%s: %d turns with coordinates left out, they are in another family's grammar", root, n_left_out)


def read_turns(conversation: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield question and answer of each pair of turns, without the image placeholder."""
    for asked, said in pairwise(conversation):
        if asked["from"] in ASKING and said["from"] in ANSWERING:
            yield asked["value"].replace("<image>", "").strip(), said["value"].strip()


def _image(root: Path, name: str, path: Path) -> Path:
    image = (root / name).resolve()
    if not image.is_relative_to(root.resolve()) or not image.is_file():
        raise InputError(f"{path}: names the image {name}, which is not below {root}")
    return image


FORMAT = Source(
    name="llava",
    folder="",
    licence="yours",
    terms="your own",
    gsd="any",
    teaches="questions and answers of any kind, without coordinates",
    origin="your own conversations; https://github.com/haotian-liu/LLaVA",
    convert=convert,
    layout="*.json with image and conversations, the images below the same folder",
)

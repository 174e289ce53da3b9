"""VRSBench: a detailed caption, descriptions of single objects, and questions, of DOTA and DIOR images.

Layout: ``Annotations_train|val/NAME.json`` and ``Images_train|val/NAME.png``. An annotation holds ``image``,
``caption``, ``objects`` (``obj_cls``, ``obj_coord`` as shares of the image, ``referring_sentence``, ``is_unique``) and
``qa_pairs`` (``question``, ``answer``). A description that fits several objects is no ground truth and is left out.
Source: Li et al. 2024, NeurIPS Datasets and Benchmarks, arXiv:2406.12384.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rsvlm_cli.errors import InputError
from train.data.convert.captions import distinct_captions, tidy_caption
from train.data.convert.coco import tidy_label
from train.data.convert.readers import clip_box, image_size, side_of
from train.data.convert.source import PreparedSet, Source
from train.data.records import LabelledBox, Record


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    for folder in sorted(path for path in root.glob("Annotations_*") if path.is_dir()):
        images = folder.with_name(folder.name.replace("Annotations", "Images"))
        for path in sorted(folder.glob("*.json")):
            known = json.loads(path.read_text(encoding="utf-8"))
            image = images / known["image"]
            boxes = [(found, _box(found, path, image_size(image))) for found in known["objects"]]
            yield out.record(
                id=path.stem,
                place=path.stem,
                split=side_of(folder.name),
                images=(out.add_image(image),),
                captions=distinct_captions([known["caption"]]),
                objects=tuple(box for _, box in boxes if box),
                phrases=tuple(
                    LabelledBox(label=tidy_caption(text), box_px=box.box_px)
                    for found, box in boxes
                    if box and found.get("is_unique", True) and (text := found.get("referring_sentence"))
                ),
                questions=tuple((qa["question"], str(qa["answer"]).lower()) for qa in known["qa_pairs"]),
            )


def _box(found: dict[str, Any], path: Path, size_px: tuple[int, int]) -> LabelledBox | None:
    shares = found["obj_coord"]
    if not all(0 <= share <= 1 for share in shares):
        raise InputError(f"{path}: obj_coord {shares}, wanted shares of the image in [0, 1]")
    width, height = size_px
    x1, y1, x2, y2 = shares
    return clip_box(tidy_label(found["obj_cls"]), (x1 * width, y1 * height, x2 * width, y2 * height), size_px)


SOURCE = Source(
    name="vrsbench",
    folder="",
    licence="CC BY 4.0; imagery of DOTA and DIOR, academic use",
    terms="research only",
    gsd="0.1 to 30 m, not stated by image",
    teaches="captions, grounding of descriptions, questions",
    origin="Li et al. 2024; https://vrsbench.github.io",
    convert=convert,
    layout="Annotations_train|val/NAME.json, Images_train|val/NAME.png",
)

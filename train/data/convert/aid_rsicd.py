"""AID scene classes with the RSICD captions.

Layout: ``images/CLASS/STEM.jpg`` and ``captions_rsicd.json``, by ``CLASS/STEM.jpg``, five captions each of which many are
copies. AID's crops come from shared scenes that are not named: images of a class that look alike are taken for one place,
the rest cannot be known, so scores on val are optimistic.
Source: Xia et al. 2017, IEEE TGRS 55(7); Lu et al. 2017, IEEE TGRS 56(4).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from train.data.convert.captions import distinct_captions
from train.data.convert.near_duplicates import difference_hash, group_near_duplicates
from train.data.convert.readers import list_images
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

MAX_DISTANCE_BITS = 40


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    captions = json.loads((root / "captions_rsicd.json").read_text(encoding="utf-8"))
    for folder in sorted(path for path in (root / "images").iterdir() if path.is_dir()):
        paths = list_images(folder)
        groups = group_near_duplicates(np.stack([_hash(path) for path in paths]), MAX_DISTANCE_BITS)
        for path, group in zip(paths, groups, strict=True):
            yield out.record(
                id=path.stem,
                place=paths[group].stem,
                images=(out.add_image(path),),
                scene=scene_name(folder.name),
                captions=distinct_captions(captions.get(f"{folder.name}/{path.name}", {}).get("raw", [])),
            )


def scene_name(folder: str) -> str:
    """Turn ``BareLand`` into ``bare land``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).lower()


def _hash(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return difference_hash(image)


SOURCE = Source(
    name="aid150-rsicd",
    folder="research-only/aid150-rsicd",
    licence="academic use; Google Earth imagery; captions without a licence",
    terms="research only",
    gsd="2 to 38 m, not stated by image",
    teaches="30 scene classes; human captions",
    origin="AID (Xia et al. 2017), RSICD (Lu et al. 2017)",
    convert=convert,
)

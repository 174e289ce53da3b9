"""AID scene classes with the RSICD captions.

Layout: ``images/CLASS/STEM_N.jpg`` and ``captions_rsicd.json`` by ``CLASS/STEM_N.jpg``, five captions each, many of
them copies. Crops come from shared scenes that are not named, and neighbouring numbers are alike: colour statistics of
a class differ by 1.97 from one number to the next, by 2.88 between far ones (median over classes, in standard
deviations). So a block of numbers is one place. No two images are near duplicates (256 bit difference hash: 30 bits or
more apart).
Source: Xia et al. 2017, IEEE TGRS 55(7); Lu et al. 2017, IEEE TGRS 56(4).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from train.data.convert.captions import distinct_captions
from train.data.convert.readers import block_of, is_val_block, list_images
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    captions = json.loads((root / "captions_rsicd.json").read_text(encoding="utf-8"))
    for folder in sorted(path for path in (root / "images").iterdir() if path.is_dir()):
        for path in list_images(folder):
            yield out.record(
                id=path.stem,
                place=block_of(path.stem),
                images=(out.add_image(path),),
                scene=scene_name(folder.name),
                captions=distinct_captions(captions.get(f"{folder.name}/{path.name}", {}).get("raw", [])),
            )


def scene_name(folder: str) -> str:
    """Turn ``BareLand`` into ``bare land``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).lower()


SOURCE = Source(
    name="aid150-rsicd",
    folder="research-only/aid150-rsicd",
    licence="academic use; Google Earth imagery; captions without a licence",
    terms="research only",
    gsd="2 to 38 m, not stated by image",
    teaches="30 scene classes; human captions",
    origin="AID (Xia et al. 2017), RSICD (Lu et al. 2017)",
    convert=convert,
    is_val=is_val_block,
)

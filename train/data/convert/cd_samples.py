"""Sample pairs of building change: LEVIR-CD, DSIFN, EGY-BCD, and one pair of LEVIR-CC with its captions.

Layout: ``SET/{A,B,label}/STEM.*``, before, after, change; ``levir-cc-example/captions.json`` by stem. LEVIR crops of
256 px are named ``IMAGE_X_Y`` after the 1,024 px image they are cut from, DSIFN crops ``IMAGE_N``.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from train.data.convert.captions import distinct_captions
from train.data.convert.readers import list_images, read_drawn_mask, require_same_size
from train.data.convert.source import PreparedSet, Source, any_of
from train.data.records import Record


@dataclass(frozen=True, slots=True)
class Part:
    """One of the sets: folder, prefix of its places, pattern of the image in a stem, ground sampling in metres."""

    folder: str
    place: str
    image: str
    gsd_m: float


PARTS = (
    Part("levir-cd-256", "levir", r"[a-z]+_\d+", 0.5),
    Part("levir-cd-1024", "levir", r"[a-z]+_\d+", 0.5),
    Part("levir-cc-example", "levir-cc", r".+", 0.5),
    Part("dsifn-cd-256", "dsifn", r"\d+", 2.0),
    Part("egy-bcd-ncc", "egy-bcd", r".+", 0.25),
)


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a pair that has a mask or captions."""
    for part in PARTS:
        yield from convert_part(root / part.folder, part, out)


def convert_part(folder: Path, part: Part, out: PreparedSet) -> Iterator[Record]:
    """Yield the pairs of one set; a partial copy may lack the whole set."""
    captions_path = folder / "captions.json"
    captions = json.loads(captions_path.read_text(encoding="utf-8")) if captions_path.is_file() else {}
    for before in list_images(folder / "A") if folder.is_dir() else []:
        after = folder / "B" / before.name
        label = folder / "label" / f"{before.stem}.png"
        mask = read_drawn_mask(label) if label.is_file() else None
        if mask is None and before.stem not in captions:
            continue
        if mask is not None:
            require_same_size(before, mask)
            require_same_size(after, mask)
        stem = f"{part.folder}_{before.stem}"
        image = re.match(part.image, before.stem)
        yield out.record(
            id=stem,
            place=f"{part.place} {image[0] if image else before.stem}",
            images=(out.add_image(before, f"{stem}_before"), out.add_image(after, f"{stem}_after")),
            gsd_m=part.gsd_m,
            captions=distinct_captions(captions.get(before.stem, [])),
            mask=None if mask is None else out.add_mask(mask, stem),
            mask_labels=() if mask is None else ("building",),
        )


SOURCE = Source(
    name="cd-samples",
    folder="research-only/cd-samples",
    licence="research only; Google Earth imagery",
    terms="research only",
    gsd="0.25 to 2 m",
    teaches="masks of building change; one pair with change captions",
    origin="LEVIR-CD (Chen and Shi 2020), DSIFN (Zhang et al. 2020), EGY-BCD, LEVIR-CC (Liu et al. 2022)",
    convert=convert,
    is_val=any_of("levir test_1", "levir test_121", "dsifn 0", "egy-bcd test_1"),
)

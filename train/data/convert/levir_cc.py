"""LEVIR-CC: sentences about the change between two dates.

Layout: ``LevirCCcaptions.json`` in the form of RSICD and ``images/train|val|test/{A,B}/NAME.png``. LEVIR-MCI has the
same with ``label/`` beside A and B (0 unchanged, 1 road, 2 building), which is read where it is there.
Source: Liu et al. 2022, IEEE TGRS 60; LEVIR-MCI: Liu et al. 2024, arXiv:2403.19646.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.captions import distinct_captions
from train.data.convert.readers import read_index_mask, side_of
from train.data.convert.rsicd import read_sentences
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

CHANGED = ("road", "building")


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a pair."""
    for image in read_sentences(root / "LevirCCcaptions.json"):
        folder = root / "images" / image["split"]
        name, stem = image["filename"], Path(image["filename"]).stem
        label = folder / "label" / name
        known = label.is_file()
        yield out.record(
            id=stem,
            place=stem,
            split=side_of(image["split"]),
            images=tuple(out.add_image(folder / date / name, f"{stem}_{date}") for date in ("A", "B")),
            gsd_m=0.5,
            captions=distinct_captions(sentence["raw"] for sentence in image["sentences"]),
            mask=out.add_mask(read_index_mask(label, (0, 1, 2)), stem) if known else None,
            mask_labels=CHANGED if known else (),
        )


SOURCE = Source(
    name="levir-cc",
    folder="",
    licence="research only; Google Earth imagery",
    terms="research only",
    gsd="0.5 m",
    teaches="change captions; with LEVIR-MCI also masks of changed roads and buildings",
    origin="Liu et al. 2022; https://github.com/Chen-Yang-Liu/LEVIR-CC-Dataset",
    convert=convert,
    layout="LevirCCcaptions.json, images/train|val|test/{A,B}/NAME.png",
)

"""ISPRS 2D semantic labelling: Potsdam (RGB) and Vaihingen (infrared, red, green), masks drawn in six colours.

Layout: Potsdam ``2_Ortho_RGB/`` or ``4_Ortho_RGBIR/top_potsdam_R_C_*.tif`` and
``5_Labels_all/top_potsdam_R_C_label.tif``; Vaihingen ``top/top_mosaic_09cm_areaN.tif`` and ``gts_for_participants/`` or
``gts/`` of the same names. Images are cut into tiles that share no ground. The sides are those of the contest: what was
published without reference is val.
Source: Rottensteiner et al. 2012, ISPRS Annals I-3, 293-298.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from rsvlm_cli.errors import InputError
from train.data.convert.dubai_landcover import read_colour_mask
from train.data.convert.readers import list_images, plan_tiles, read_rgb, require_same_size
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

COLOURS = {
    "paved land": 0xFFFFFF,
    "building": 0x0000FF,
    "low vegetation": 0x00FFFF,
    "tree": 0x00FF00,
    "car": 0xFFFF00,
}
CLUTTER = 0xFF0000
LABELS = tuple(COLOURS)
VALUES = {colour: k for k, colour in enumerate(COLOURS.values(), start=1)} | {CLUTTER: 0}

TILE_PX = 1000

POTSDAM_TRAIN = {"2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12"} | {
    "6_10", "6_11", "6_12", "6_7", "6_8", "6_9", "7_10", "7_11", "7_12", "7_7", "7_8", "7_9",
}  # fmt: skip
VAIHINGEN_TRAIN = {"1", "3", "5", "7", "11", "13", "15", "17", "21", "23", "26", "28", "30", "32", "34", "37"}


def convert_potsdam(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a tile of Potsdam."""
    images = next((root / name for name in ("2_Ortho_RGB", "4_Ortho_RGBIR") if (root / name).is_dir()), None)
    if images is None:
        raise InputError(f"{root}: no 2_Ortho_RGB/ or 4_Ortho_RGBIR/ in it, wanted ISPRS Potsdam")
    for path in list_images(images):
        if area := re.search(r"potsdam_(\d+_\d+)", path.stem):
            label = root / "5_Labels_all" / f"top_potsdam_{area[1]}_label.tif"
            yield from _tiles(path, label, area[1], area[1] in POTSDAM_TRAIN, out)


def convert_vaihingen(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a tile of Vaihingen; areas without a published mask are left out."""
    for path in list_images(root / "top"):
        area = re.search(r"area(\d+)", path.stem)
        labels = [root / name / path.name for name in ("gts_for_participants", "gts")]
        label = next((label for label in labels if label.is_file()), None)
        if area and label:
            yield from _tiles(path, label, area[1], area[1] in VAIHINGEN_TRAIN, out)


def _tiles(path: Path, label: Path, area: str, is_train: bool, out: PreparedSet) -> Iterator[Record]:
    mask = read_colour_mask(label, VALUES)
    require_same_size(path, mask)
    pixels = read_rgb(path)
    for x1, y1, x2, y2 in plan_tiles((mask.shape[1], mask.shape[0]), TILE_PX):
        stem = f"{area}_{x1}_{y1}"
        yield out.record(
            id=stem,
            place=area,
            split="train" if is_train else "val",
            images=(out.add_pixels(pixels[y1:y2, x1:x2], stem),),
            gsd_m=0.05 if out.source is POTSDAM else 0.09,
            mask=out.add_mask(mask[y1:y2, x1:x2], stem),
            mask_labels=LABELS,
        )


POTSDAM = Source(
    name="isprs-potsdam",
    folder="",
    licence="research and education only; (c) BSF Swissphoto",
    terms="research only",
    gsd="0.05 m",
    teaches="masks of paved land, building, low vegetation, tree, car",
    origin="ISPRS WG III/4; https://www.isprs.org/education/benchmarks/UrbanSemLab",
    convert=convert_potsdam,
    layout="2_Ortho_RGB/ or 4_Ortho_RGBIR/*.tif, 5_Labels_all/*_label.tif",
    archives={"4_Ortho_RGBIR.zip": "c4a8f7d8c7196dd4eba4addd0aae10c1"},
)

VAIHINGEN = Source(
    name="isprs-vaihingen",
    folder="",
    licence="research and education only; (c) DGPF",
    terms="research only",
    gsd="0.09 m, infrared shown as red",
    teaches="masks of paved land, building, low vegetation, tree, car",
    origin="ISPRS WG III/4; https://www.isprs.org/education/benchmarks/UrbanSemLab",
    convert=convert_vaihingen,
    layout="top/*.tif, gts_for_participants/*.tif",
    archives={
        "ISPRS_semantic_labeling_Vaihingen.zip": "462b8dca7b6fa9eaf729840f0cdfc7f3",
        "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE.zip": "4802dd6326e2727a352fb735be450277",
    },
)

"""fAIr / RAMP tiles: OpenAerialMap imagery with OpenStreetMap building footprints.

Layout: ``images/SET_X_Y_Z.png|jpg`` (web-mercator tiles of 256 px at zoom 19 to 21), ``masks/`` of the same stem, and
``tiles_and_boxes.csv`` with the bounds and boxes of each tile. The same ground occurs at up to three zooms.
"""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import clip_box, image_size, list_images, read_drawn_mask, require_same_size
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

TILE_PX = 256
PLACE_ZOOM = 19
EQUATOR_M = 2 * math.pi * 6_378_137


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a tile; every known building is boxed, and a piece of a roof at the edge is a box too."""
    with (root / "tiles_and_boxes.csv").open(newline="", encoding="utf-8") as file:
        rows = {Path(row["image"]).stem: row for row in csv.DictReader(file)}
    for path in list_images(root / "images"):
        row = rows[path.stem]
        mask = read_drawn_mask(root / "masks" / f"{path.stem}.png")
        require_same_size(path, mask)
        boxes = (clip_box("building", tuple(box), image_size(path)) for box in json.loads(row["boxes_xyxy_px"]))
        latitude = (float(row["south"]) + float(row["north"])) / 2
        yield out.record(
            id=path.stem,
            place=place_of(path.stem),
            images=(out.add_image(path),),
            gsd_m=round(tile_gsd_m(int(row["zoom"]), latitude), 4),
            objects=tuple(box for box in boxes if box),
            complete=("building",),
            mask=out.add_mask(mask, path.stem),
            mask_labels=("building",),
        )


def place_of(stem: str) -> str:
    """Return the zoom-19 tile that holds a tile ``SET_X_Y_Z``."""
    site, x, y, zoom = stem.split("_")
    shift = int(zoom) - PLACE_ZOOM
    return f"{site}_{int(x) >> shift}_{int(y) >> shift}"


def tile_gsd_m(zoom: int, latitude: float) -> float:
    """Return the ground size of a web-mercator pixel in metres at a latitude in degrees."""
    return EQUATOR_M * math.cos(math.radians(latitude)) / (TILE_PX * 2**zoom)


SOURCE = Source(
    name="buildings-openaerialmap",
    folder="core/buildings-openaerialmap",
    licence="imagery OpenAerialMap CC BY 4.0 (platform default), labels OpenStreetMap ODbL 1.0",
    terms="open",
    gsd="0.075 to 0.3 m",
    teaches="building boxes, masks, counts and presence",
    origin="hotosm/fAIr-utilities, RAMP training tiles",
    convert=convert,
)

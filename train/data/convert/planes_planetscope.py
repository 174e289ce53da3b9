"""PlanesNet: chips of PlanetScope scenes with one airplane in the middle, or none.

Layout: ``chips/LABEL__SCENE__LON_LAT.png``, 20 px, label 1 is an airplane. The airplane's extent is not given, so it is
a point; a chip without one may still hold a part of one at its edge.

An airport recurs in many scenes, so the scene is no place: split by scene, 56 % of the val chips had a train chip
within a chip's width. A cell of 0.1 degrees holds an airport; split by it, no val chip has a train chip within 800 m.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import image_size, list_images
from train.data.convert.source import PreparedSet, Source, any_of
from train.data.records import Record

GSD_M = 3.0
CELLS_PER_DEGREE = 10
VAL_CELLS = ("cell -1179 336", "cell -1173 327", "cell -1172 327", "cell -1220 373", "cell -1219 373")
"""Santa Ana, San Diego, San Jose. Los Angeles and San Francisco hold most chips, too many for a hash to share out."""


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a chip."""
    for path in list_images(root / "chips"):
        label, _, position = path.stem.split("__")
        width, height = image_size(path)
        yield out.record(
            id=path.stem,
            place=place_of(position),
            images=(out.add_image(path),),
            gsd_m=GSD_M,
            points=(("airplane", width / 2, height / 2),) if label == "1" else (),
            complete=("airplane",),
        )


def place_of(position: str) -> str:
    """Return the cell of a position ``LON_LAT`` in degrees, by its corner in cells."""
    east, north = (math.floor(float(degrees) * CELLS_PER_DEGREE) for degrees in position.split("_"))
    return f"cell {east} {north}"


SOURCE = Source(
    name="planes-planetscope",
    folder="core/planes-planetscope",
    licence="CC BY-SA 4.0 according to its Kaggle page; Planet Open California",
    terms="open",
    gsd="3 m",
    teaches="airplane presence",
    origin="rhammell, PlanesNet",
    convert=convert,
    is_val=any_of(*VAL_CELLS),
)

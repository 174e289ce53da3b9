"""PlanesNet: chips of PlanetScope scenes with one airplane in the middle, or none.

Layout: ``chips/LABEL__SCENE__LON_LAT.png``, 20 px, label 1 is an airplane. The airplane's extent is not given, so it is a
point; a chip without one may still hold a part of one at its edge.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import image_size, list_images
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

GSD_M = 3.0


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a chip."""
    for path in list_images(root / "chips"):
        label, scene, _ = path.stem.split("__")
        width, height = image_size(path)
        yield out.record(
            id=path.stem,
            place=scene,
            images=(out.add_image(path),),
            gsd_m=GSD_M,
            points=(("airplane", width / 2, height / 2),) if label == "1" else (),
            complete=("airplane",),
        )


SOURCE = Source(
    name="planes-planetscope",
    folder="core/planes-planetscope",
    licence="CC BY-SA 4.0 according to its Kaggle page; Planet Open California",
    terms="open",
    gsd="3 m",
    teaches="airplane presence",
    origin="rhammell, PlanesNet",
    convert=convert,
)

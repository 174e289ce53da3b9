"""Urban trees of eight Californian cities on NAIP imagery, as points.

Layout: ``images_rgb/CITY_YEAR_N.jpg`` and ``csv/`` of the same stem with ``x,y`` in pixels; no file means no tree. A
location seen in several years is one place. Some rows are exact duplicates.
Source: Ventura et al. 2022, arXiv:2208.10607.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import list_images
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

GSD_M = 0.6


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    for path in list_images(root / "images_rgb"):
        city, _, number = path.stem.rsplit("_", 2)
        points = read_points(root / "csv" / f"{path.stem}.csv")
        yield out.record(
            id=path.stem,
            place=f"{city}_{number}",
            images=(out.add_image(path),),
            gsd_m=GSD_M,
            points=tuple(("tree", x, y) for x, y in points),
            complete=("tree",),
        )


def read_points(path: Path) -> list[tuple[float, float]]:
    """Return the distinct points of a file in its order, in pixels; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(dict.fromkeys((float(row["x"]), float(row["y"])) for row in csv.DictReader(file)))


SOURCE = Source(
    name="urban-trees-naip",
    folder="core/urban-trees-naip",
    licence="imagery NAIP (US public domain), annotations CC BY 4.0",
    terms="open",
    gsd="0.6 m",
    teaches="tree counts, presence and positions",
    origin="jonathanventura/urban-tree-detection-data; arXiv:2208.10607",
    convert=convert,
)

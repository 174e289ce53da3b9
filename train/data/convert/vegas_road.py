"""Roads of Las Vegas, SpaceNet area.

Layout: ``images/N.jpg`` and ``masks/N.png`` (1 bit). Masks are buffered centre lines: their width is not the road's,
and some residential roads are missing.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import images_with_masks
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    return images_with_masks(root, out, "road", gsd_m=None)


SOURCE = Source(
    name="vegas-road",
    folder="core/vegas-road",
    licence="CC BY-SA 4.0",
    terms="open",
    gsd="about 0.3 m, not stated",
    teaches="road masks",
    origin="Kaggle yash0309, Las Vegas road network (SpaceNet area)",
    convert=convert,
)

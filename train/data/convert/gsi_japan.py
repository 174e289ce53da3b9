"""Training images of the Geospatial Information Authority of Japan: roads, and solar panels.

Layout: ``images/STEM.jpg`` and ``masks/STEM.png`` (palette, coloured is set); a stem is a base number, for copies
behind ``hflipped_`` or ``rotated_90_``.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import images_with_masks
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

GSD_M = 0.2


def convert_road(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image; some images have only their major roads labelled."""
    return images_with_masks(root, out, "road", GSD_M, place_of=base_number)


def convert_solar(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image; every image holds panels."""
    return images_with_masks(root, out, "solar panel", GSD_M, place_of=base_number)


def base_number(stem: str) -> str:
    """Return the number that a picture shares with its flipped and rotated copies."""
    return stem.rpartition("_")[2]


ROAD = Source(
    name="gsi-japan-road",
    folder="core/gsi-japan-road",
    licence="Public Data License 1.0 (Japan); credit GSI, Training image data for CNN, H1",
    terms="open",
    gsd="0.2 m",
    teaches="road masks",
    origin="GSI Technical Document H1",
    convert=convert_road,
)

SOLAR = Source(
    name="gsi-japan-solar",
    folder="core/gsi-japan-solar",
    licence="Public Data License 1.0 (Japan); credit GSI Technical Document H1-No.20",
    terms="open",
    gsd="0.2 m",
    teaches="solar-panel masks",
    origin="GSI Technical Document H1-No.20",
    convert=convert_solar,
)

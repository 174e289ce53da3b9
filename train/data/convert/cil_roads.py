"""Roads of American suburbs, the ETH Zurich CIL course set.

Layout: ``images/satImage_N.jpg`` and ``masks/`` of the same stem (1 bit). Parking lots are partly road. Images
with neighbouring numbers look like one scene, so a block of numbers is one place.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import block_of, images_with_masks, is_val_block
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record

FAULTY = ("satImage_192",)
"""Its mask is road from edge to edge; the image shows a lake shore."""


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    return images_with_masks(root, out, "road", gsd_m=None, place_of=block_of, leave_out=FAULTY)


SOURCE = Source(
    name="cil-roads",
    folder="research-only/cil-roads",
    licence="none stated; imagery Google Maps",
    terms="research only",
    gsd="about 0.3 to 0.5 m, not stated",
    teaches="road masks",
    origin="ETH Zurich, Computational Intelligence Lab road segmentation",
    convert=convert,
    is_val=is_val_block,
)

"""One folder a scene class: AID, UC Merced, RESISC45, EuroSAT and whatever else is sorted into folders.

Layout: ``CLASS/*.jpg|png|tif``, or ``train|val|test/CLASS/...``.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from train.data.convert.aid_rsicd import scene_name
from train.data.convert.readers import block_of, is_val_block, list_images, side_folders
from train.data.convert.source import PreparedSet, Source
from train.data.records import Record


def convert(root: Path, out: PreparedSet, place_of: Callable[[str], str] | None = None) -> Iterator[Record]:
    """Yield one record an image.

    Args:
        root: the set's folder.
        out: the prepared set.
        place_of: from stem to place; by default an image is a place of its own.
    """
    for folder, side in side_folders(root):
        for scene in sorted(path for path in folder.iterdir() if path.is_dir()):
            for path in list_images(scene):
                stem = path.stem if path.stem.lower().startswith(scene.name.lower()) else f"{scene.name}_{path.stem}"
                yield out.record(
                    id=f"{side}_{stem}" if side else stem,
                    place=place_of(stem) if place_of else stem,
                    split=side,
                    images=(out.add_image(path, f"{side}_{stem}" if side else stem),),
                    scene=scene_name(scene.name.replace("_", " ")),
                )


def convert_aid(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image; AID's crops come in runs from shared scenes (see `aid_rsicd`)."""
    return convert(root, out, block_of)


FORMAT = Source(
    name="folders",
    folder="",
    licence="yours",
    terms="your own",
    gsd="any",
    teaches="scene classes",
    origin="your own images",
    convert=convert,
    layout="CLASS/*.jpg|png|tif, or train|val|test/CLASS/...",
)

AID = Source(
    name="aid",
    folder="",
    licence="academic use; Google Earth imagery",
    terms="research only",
    gsd="0.5 to 8 m",
    teaches="30 scene classes",
    origin="Xia et al. 2017, IEEE TGRS 55(7); https://captain-whu.github.io/AID",
    convert=convert_aid,
    is_val=is_val_block,
    layout="CLASS/CLASS_N.jpg",
)

UCMERCED = Source(
    name="ucmerced",
    folder="",
    licence="imagery USGS (US public domain)",
    terms="open",
    gsd="0.3 m",
    teaches="21 scene classes",
    origin="Yang and Newsam 2010, ACM SIGSPATIAL; http://weegee.vision.ucmerced.edu/datasets/landuse.html",
    convert=convert,
    layout="CLASS/CLASSNN.tif (UCMerced_LandUse/Images)",
    archives={"UCMerced_LandUse.zip": "5b7ec56793786b6dc8a908e8854ac0e4"},
)

RESISC45 = Source(
    name="nwpu-resisc45",
    folder="",
    licence="research purposes only; Google Earth imagery",
    terms="research only",
    gsd="0.2 to 30 m",
    teaches="45 scene classes",
    origin="Cheng et al. 2017, Proc. IEEE 105(10)",
    convert=convert,
    layout="CLASS/CLASS_NNN.jpg (NWPU-RESISC45)",
    archives={"NWPU-RESISC45.zip": "75206b2e16446591afa88e2628744886"},
)

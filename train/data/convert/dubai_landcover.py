"""Land cover of Dubai, MBRSC imagery labelled by Humans in the Loop.

Layout: ``images/TileK_image_part_00I.jpg`` and ``masks/`` of the same stem, RGB colours as in
``mask_colours_actual.json`` (the published ``classes.json`` carries wrong colours). Neighbouring parts of a tile touch,
so a tile is one place; Tile1 is val, for it shows all five classes.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from train.data.convert.readers import list_images, require_same_size
from train.data.convert.source import PreparedSet, Source, any_of
from train.data.records import UNLABELLED, Record

CLASS_NAMES = {
    "building": "Building",
    "unpaved land": "Land (unpaved area)",
    "road": "Road",
    "vegetation": "Vegetation",
    "water": "Water",
}
"""From our word to the set's."""


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image; every pixel has a class or is unlabelled."""
    colours = json.loads((root / "mask_colours_actual.json").read_text(encoding="utf-8"))
    values = {int(colours[name].removeprefix("#"), 16): k for k, name in enumerate(CLASS_NAMES.values(), start=1)}
    for path in list_images(root / "images"):
        mask = read_colour_mask(root / "masks" / f"{path.stem}.png", values)
        require_same_size(path, mask)
        yield out.record(
            id=path.stem,
            place=path.stem.partition("_")[0],
            images=(out.add_image(path),),
            mask=out.add_mask(mask, path.stem),
            mask_labels=tuple(CLASS_NAMES),
        )


def read_colour_mask(path: Path, values: dict[int, int]) -> np.ndarray:
    """Read an RGB mask.

    Args:
        path: the mask.
        values: from colour ``0xRRGGBB`` to value.

    Returns:
        ``(H, W)`` uint8, ``UNLABELLED`` where the colour is not listed.
    """
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    colour = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
    cells = np.full(colour.shape, UNLABELLED, np.uint8)
    for listed, value in values.items():
        cells[colour == listed] = value
    return cells


SOURCE = Source(
    name="dubai-landcover",
    folder="core/dubai-landcover",
    licence="CC0 1.0 according to its Kaggle page",
    terms="open",
    gsd="about 0.3 to 1 m, not stated",
    teaches="masks of building, unpaved land, road, vegetation, water",
    origin="Humans in the Loop, Semantic segmentation of aerial imagery",
    convert=convert,
    is_val=any_of("Tile1"),
)

"""LoveDA: land cover of Nanjing, Changzhou and Wuhan, urban and rural.

Layout: ``Train|Val/{Urban,Rural}/{images_png,masks_png}/N.png``; masks hold 0 no data, 1 background, 2 building,
3 road, 4 water, 5 barren, 6 forest, 7 agriculture. The test side has no masks and is left out.
Source: Wang et al. 2021, NeurIPS Datasets and Benchmarks, arXiv:2110.08733.
"""

from collections.abc import Iterator
from pathlib import Path

from train.data.convert.readers import list_images, read_index_mask, require_same_size, side_of
from train.data.convert.source import PreparedSet, Source
from train.data.records import UNLABELLED, Record

LABELS = ("building", "road", "water", "bare land", "forest", "farmland")
TABLE = (UNLABELLED, 0, 1, 2, 3, 4, 5, 6)


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record an image."""
    for folder in sorted(root.glob("*/*/masks_png")):
        area, side = folder.parent.name.lower(), side_of(folder.parents[1].name)
        for path in list_images(folder.with_name("images_png")):
            mask = read_index_mask(folder / path.name, TABLE)
            require_same_size(path, mask)
            stem = f"{area}_{path.stem}"
            yield out.record(
                id=stem,
                place=stem,
                split=side,
                images=(out.add_image(path, stem),),
                gsd_m=0.3,
                questions=(("Is this area rural or urban?", area),),
                mask=out.add_mask(mask, stem),
                mask_labels=LABELS,
            )


SOURCE = Source(
    name="loveda",
    folder="",
    licence="CC BY-NC-SA 4.0; Google Earth imagery",
    terms="research only",
    gsd="0.3 m",
    teaches="masks of six land covers; rural or urban",
    origin="Wang et al. 2021; https://zenodo.org/records/5706578",
    convert=convert,
    layout="Train|Val/{Urban,Rural}/{images_png,masks_png}/N.png",
    archives={
        "Train.zip": "de2b196043ed9b4af1690b3f9a7d558f",
        "Val.zip": "84cae2577468ff0b5386758bb386d31d",
        "Test.zip": "a489be0090465e01fb067795d24e6b47",
    },
)

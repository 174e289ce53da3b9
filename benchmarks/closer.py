"""What windows add where a scale is known: ``python -m benchmarks.closer --root DATA``.

Validation pictures of sets whose ground sampling distance and objects are known are written as GeoTIFFs of that scale,
which the sets' own files are not, and of each class in which a picture is complete it is asked how many there are and
whether there is one: at one look (``--zoom off``), as it comes (``large``) and in windows (``auto``).
"""

import argparse
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from rsvlm_cli import pipeline
from rsvlm_cli.results import Answer
from rsvlm_cli.settings import Settings, ZoomMode
from train.data.phrases import an, plural
from train.evaluate.bench import prepare_sets
from train.evaluate.questions import count_of

SETS = ("aerial-cars", "buildings-openaerialmap", "planes-planetscope", "urban-trees-naip")
MODES: tuple[ZoomMode, ...] = ("off", "large", "auto")


def write_placed(picture: Path, gsd_m: float, out: Path) -> None:
    """Write a picture as a GeoTIFF whose pixels are ``gsd_m`` metres wide."""
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "crs": "EPSG:32633"}
    place = from_origin(500_000, 5_000_000, gsd_m, gsd_m)
    with rasterio.open(out, "w", height=pixels.shape[1], width=pixels.shape[2], transform=place, **profile) as file:
        file.write(pixels)


def ask_both(scene: Path, label: str, settings: Settings) -> tuple[int, bool]:
    """Return how many things of a class a scene is said to show, and whether one."""
    questions = [f"How many {plural(label)} are there?", f"Is there {an(label)}?"]
    report = pipeline.ask([str(scene)], questions, settings)
    number, there = (result.text for result in report.results if isinstance(result, Answer))
    return int(number) if number.isdecimal() else 0, there == "yes"


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets: core/, research-only/")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--limit", type=int, default=70, help="pictures a set")
    parser.add_argument("--model", default="nano", help="bundle name or folder")
    options = parser.parse_args()
    names = " | ".join(MODES)
    print(f"| set | places | class | pictures | with one | counts off by: {names} | presence right: {names} |")
    print("|---" * (5 + 2 * len(MODES)) + "|")
    with TemporaryDirectory() as name:
        folders, records, _ = prepare_sets(options.sets, options.root, Path(name), "val")
        scene = Path(name) / "scene.tif"
        for source, every in records.items():
            known = [record for record in every if record.gsd_m and record.complete and len(record.images) == 1]
            known = known[:: -(-len(known) // options.limit) or 1]
            truths: defaultdict[str, list[int]] = defaultdict(list)
            said: defaultdict[tuple[str, str], list[tuple[int, bool]]] = defaultdict(list)
            for record in known:
                write_placed(folders[source] / record.images[0], record.gsd_m or 1.0, scene)
                for label in record.complete:
                    truths[label].append(count_of(record, label))
                    for mode in MODES:
                        said[label, mode].append(ask_both(scene, label, Settings(model=options.model, zoom=mode)))
            for label, numbers in truths.items():
                truth = np.array(numbers)
                answers = [np.array(said[label, mode], int).T for mode in MODES]
                cells = [f"{np.abs(number - truth).mean():.2f}" for number, _ in answers]
                cells += [f"{(there == (truth > 0)).mean():.2f}" for _, there in answers]
                places = len({record.place for record in known})
                heads = f"| {source} | {places} | {label} | {len(truth)} | {(truth > 0).sum()} | "
                print(heads + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

"""A prepared set made on the spot: coloured rectangles whose boxes, masks and class are exact."""

from pathlib import Path

import numpy as np
from PIL import Image

from train.data.records import LabelledBox, Record, write_records

SIDE = 240


def make_tiny_set(folder: Path, *, count: int = 6, seed: int = 0) -> list[Record]:
    """Write ``count`` records, each third one a before/after pair, and return them."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    records = []
    for i in range(count):
        before = np.full((SIDE, SIDE, 3), (60, 110, 60), np.uint8) + rng.integers(0, 20, (SIDE, SIDE, 3), np.uint8)
        after, mask = before.copy(), np.zeros((SIDE, SIDE), np.uint8)
        boxes = []
        for column in range(1 + i % 2):
            x, y = 20 + 110 * column, int(rng.integers(12, 125))
            w, h = int(rng.integers(50, 90)), int(rng.integers(50, 90))
            after[y : y + h, x : x + w] = (220, 40, 40)
            mask[y : y + h, x : x + w] = 1
            boxes.append(LabelledBox(label="building", box_px=(x, y, x + w, y + h)))
        pair = i % 3 == 2
        images = []
        for date, pixels in (("a", before), ("b", after)) if pair else (("a", after),):
            images.append(f"images/{i}{date}.png")
            Image.fromarray(pixels).save(folder / images[-1])
        Image.fromarray(mask).save(folder / f"masks/{i}.png")
        records.append(
            Record(
                id=str(i),
                source="tiny",
                place=str(i),
                split="train",
                images=tuple(images),
                scene=None if pair else ("farmland", "industrial")[i % 2],
                captions=("a red building was built",) if pair else ("a red building on grass",),
                objects=tuple(boxes),
                complete=("building", "ship"),
                mask=f"masks/{i}.png",
                mask_labels=("building",),
            )
        )
    write_records(folder, records)
    return records

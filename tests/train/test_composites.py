"""Composites of tiny prepared sets whose every pixel tells where it comes from.

Places of the train side are painted with blue near 40, those of the val side with blue near 215, so that a pixel of the
wrong side shows.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsvlm_cli.errors import InputError
from train.data.composites.__main__ import make_set
from train.data.composites.make import make_composite, split_of
from train.data.composites.paste import blend, find_room, outline, turned
from train.data.composites.pool import Pool, cut_out
from train.data.phrases import NO_CHANGE, NUMBERS
from train.data.records import LabelledBox, Record, read_records, write_records

SIDE = 300
BLUE = {"train": 40, "val": 215}


def make_prepared(root: Path) -> None:
    """Write a set of buildings and a set of ships and tanks, both sides of the split in each."""
    rng = np.random.default_rng(0)
    for source, labels in (("buildings-openaerialmap", ("building",)), ("nwpu-vhr10", ("ship", "storage tank"))):
        folder = root / source
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        records = []
        for i in range(10):
            split = "val" if i % 3 == 0 else "train"
            pixels = rng.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
            pixels[..., 2] = BLUE[split] + rng.integers(-8, 8, (SIDE, SIDE))
            mask, objects = np.zeros((SIDE, SIDE), np.uint8), []
            for k, label in enumerate(labels if i % 2 else (), start=1):
                x, y = 20 + 100 * k, 60 + 10 * i
                width, height = 30 + i, 24
                pixels[y : y + height, x : x + width, :2] = (230, 30 * k)
                mask[y : y + height, x : x + width] = k
                objects.append(LabelledBox(label=label, box_px=(x, y, x + width, y + height)))
            if source == "nwpu-vhr10" and not objects:  # a ground for ships needs something that stands by the water
                objects.append(LabelledBox(label="harbor", box_px=(0, 0, 8, 8)))
            Image.fromarray(pixels).save(folder / f"images/{i}.png")
            Image.fromarray(mask).save(folder / f"masks/{i}.png")
            records.append(
                Record(
                    id=str(i),
                    source=source,
                    place=f"place {i}",
                    split=split,
                    images=(f"images/{i}.png",),
                    gsd_m=0.3 if source != "nwpu-vhr10" else None,
                    objects=tuple(objects),
                    complete=labels if source != "nwpu-vhr10" else (*labels, "harbor"),
                    mask=f"masks/{i}.png",
                    mask_labels=labels,
                )
            )
        write_records(folder, records)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    make_prepared(root)
    return root


@pytest.fixture(scope="module")
def pools(prepared: Path) -> dict[str, Pool]:
    return {split: Pool(prepared, split) for split in ("train", "val")}


def stated_counts(text: str) -> dict[str, int]:
    numbers = "|".join([*NUMBERS, "an?"])
    found = re.findall(rf"\b({numbers})(?: new)? (building|ship|storage tank|harbor)s?\b", text)
    return {label: 1 if word in ("a", "an") else NUMBERS.index(word) for word, label in found}


def test_equal_seeds_write_equal_bytes(prepared: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_set(prepared, tmp_path / name, 8, 3)
    written = [
        {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("a", "b")
    ]
    assert written[0] == written[1]
    assert len(list(read_records(tmp_path / "a"))) == 8


def test_a_pool_reads_no_record_of_the_other_side(pools: dict[str, Pool]) -> None:
    for split, pool in pools.items():
        assert {record.split for record in pool.records} == {split}
    train, val = ({(r.source, r.place) for r in pools[split].records} for split in ("train", "val"))
    assert train
    assert val
    assert not train & val


def test_no_pixel_of_a_composite_comes_from_the_other_side(pools: dict[str, Pool]) -> None:
    """Object and ground carry their side in the blue channel; no radiometry is applied to the layers looked at."""
    seen = set()
    for index in range(120):
        composite = make_composite(pools, 1, index)
        side = composite.record.split
        assert side == split_of(1, index)
        _, place = composite.record.place.split("/")
        assert place in {record.place for record in pools[side].records}
        for pasted in composite.pasted:
            assert abs(float(np.median(pasted.cutout.rgb[..., 2])) - BLUE[side]) < 15
        seen.add(side)
    assert seen == {"train", "val"}


def test_a_side_without_objects_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no val object to cut out"):
        Pool(tmp_path, "val")


def test_a_cut_out_has_the_outline_of_its_mask_and_the_colour_of_its_ground() -> None:
    image = np.full((80, 80, 3), 100, np.uint8)
    inside = np.zeros((80, 80), bool)
    inside[30:50, 25:60] = True
    inside[30:40, 45:60] = False
    image[inside] = (200, 10, 10)
    item = LabelledBox(label="building", box_px=(25, 30, 60, 50))
    cutout = cut_out(image, inside, item, 0.3)
    assert cutout is not None
    assert cutout.opacity.sum() == inside.sum()
    assert (cutout.rgb[cutout.opacity == 1] == (200, 10, 10)).all()
    assert np.allclose(cutout.ground, 100)
    turned_once = turned(cutout, 1, False, 1.0)
    assert turned_once is not None
    x1, y1, x2, y2 = turned_once.box_px
    assert (x2 - x1, y2 - y1) == (20, 35)


def test_an_object_at_the_edge_of_its_image_is_not_cut_out() -> None:
    inside = np.zeros((80, 80), bool)
    inside[0:20, 25:60] = True
    item = LabelledBox(label="building", box_px=(25, 0, 60, 20))
    assert cut_out(np.full((80, 80, 3), 100, np.uint8), inside, item, 0.3) is None


def test_a_pasted_box_is_the_extent_of_the_pixels_that_changed(pools: dict[str, Pool]) -> None:
    rng = np.random.default_rng(4)
    for _ in range(10):
        cutout = pools["train"].cut_out(rng, "building", 0.3)
        assert cutout is not None
        ready = turned(cutout, int(rng.integers(4)), True, rng.uniform(0.6, 1.3))
        assert ready is not None
        ground = np.full((128, 128, 3), (100, 100, BLUE["train"]), np.float32)
        pasted = find_room(rng, ground, ready, [])
        assert pasted is not None
        image = ground.copy()
        blend(image, pasted)
        ys, xs = np.nonzero(np.abs(image - ground).max(axis=2) > 60)
        assert np.abs(np.array(pasted.box_px) - (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)).max() <= 1
        covered = outline(image.shape, pasted)
        ys, xs = np.nonzero(covered)
        assert pasted.box_px == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_boxes_lie_inside_and_pasted_ones_touch_nothing(pools: dict[str, Pool]) -> None:
    for index in range(60):
        composite = make_composite(pools, 2, index)
        boxes = [item.box_px for item in composite.record.objects]
        assert all(0 <= x1 < x2 <= 256 and 0 <= y1 < y2 <= 256 for x1, y1, x2, y2 in boxes)
        for pasted in composite.pasted:
            a = pasted.box_px
            others = [b for b in boxes if b != a]
            assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in others)


def test_a_change_mask_is_the_pasted_outline_and_the_caption_counts_it(pools: dict[str, Pool]) -> None:
    changed = unchanged = 0
    for index in range(150):
        composite = make_composite(pools, 3, index)
        if len(composite.images) != 2:
            continue
        assert composite.mask is not None
        captions = composite.record.captions
        if set(captions) <= set(NO_CHANGE):
            assert not composite.mask.any()
            unchanged += 1
            continue
        (label,) = composite.record.mask_labels
        outlines = [outline(composite.mask.shape, pasted) for pasted in composite.pasted]
        moved = [cells for cells in outlines if composite.mask[cells].any()]
        assert ((composite.mask == 1) == np.any(moved, axis=0)).all()
        assert all(stated_counts(text) == {label: len(moved)} for text in captions), captions
        before, after = (image.astype(float).mean(axis=2) for image, _ in composite.images)
        difference = np.abs((after - after.mean()) - (before - before.mean()))
        assert difference[composite.mask == 1].mean() > 2 * difference[composite.mask == 0].mean()
        changed += 1
    assert changed > 30
    assert unchanged > 10


def test_single_images_count_every_known_class_exactly(pools: dict[str, Pool]) -> None:
    singles = [c for c in (make_composite(pools, 4, index) for index in range(80)) if len(c.images) == 1]
    assert len(singles) > 15
    for composite in singles:
        record = composite.record
        present = {item.label for item in record.objects} & set(record.complete)
        expected = {label: sum(item.label == label for item in record.objects) for label in present}
        assert all(stated_counts(text) == expected for text in record.captions), record.captions
        assert composite.pasted[0].cutout.label in record.complete

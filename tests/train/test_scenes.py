"""Drawn scenes: what the labels say is what was painted."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from train.data.phrases import NO_CHANGE, NUMBERS, plural
from train.data.records import read_records
from train.data.scenes.__main__ import make_set
from train.data.scenes.make import OBJECT_LABELS, Picture, make_picture, split_of
from train.data.scenes.palette import MASK_LABELS
from train.data.scenes.render import draw, random_light
from train.data.scenes.sites import make_plan

SEED = 5


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [make_picture(SEED, index) for index in range(60)]


@pytest.fixture(scope="module")
def pairs(pictures: list[Picture]) -> list[Picture]:
    return [picture for picture in pictures if len(picture.images) == 2]


def stated_counts(text: str, labels: tuple[str, ...]) -> dict[str, int]:
    """Read every count of a class out of a caption, longest class words first."""
    found = {}
    numbers = "|".join([*NUMBERS, r"\d+", "an?"])
    for label in sorted(labels, key=len, reverse=True):
        pattern = rf"\b({numbers})(?: new)? (?:{label}|{plural(label)})\b"
        for word in re.findall(pattern, text):
            found[label] = 1 if word in ("a", "an") else int(word) if word.isdigit() else NUMBERS.index(word)
        text = re.sub(pattern, "", text)
    return found


def box_of(cells: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(cells)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_equal_seeds_write_equal_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_set(tmp_path / name, 5, seed)
    written = {
        name: {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in "abc"
    }
    assert written["a"] == written["b"]
    assert set(written["a"].values()).isdisjoint(written["c"].values())


def test_a_written_set_reads_back_with_every_file_it_names(tmp_path: Path) -> None:
    assert make_set(tmp_path, 6, SEED) == 6
    records = list(read_records(tmp_path))
    assert [record.id for record in records] == [f"{SEED}-{index:06d}" for index in range(6)]
    for record in records:
        assert all(pixels_of(tmp_path / path).shape == (256, 256, 3) for path in record.images)
        assert record.mask is not None
        cells = pixels_of(tmp_path / record.mask)
        assert cells.shape == (256, 256)
        assert cells.max() <= len(record.mask_labels)


@pytest.mark.parametrize("seed", [3, 11, 20, 24, 31, 42])
def test_a_box_is_the_extent_of_the_pixels_that_its_object_paints(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = make_plan(rng)
    light = random_light(rng)
    plan.things = [replace(thing, height_px=0.0) for thing in plan.things]
    whole = draw(plan, light)
    labelled = [k for k, thing in enumerate(plan.things) if thing.label is not None]
    assert labelled
    assert len(whole.objects()) == len(labelled)
    for k in labelled[:12]:
        without = replace(plan, things=[thing for i, thing in enumerate(plan.things) if i != k])
        painted = np.abs(whole.image - draw(without, light).image).max(axis=2) > 4
        distance = min(
            np.abs(np.array(item.box_px) - box_of(painted)).max()
            for item in whole.objects()
            if item.label == plan.things[k].label
        )
        assert distance <= 1


def test_every_box_lies_inside_the_image_and_is_large_enough_to_see(pictures: list[Picture]) -> None:
    boxes = np.array([item.box_px for picture in pictures for item in picture.record.objects])
    assert len(boxes) > 300
    assert boxes.min() >= 0
    assert boxes.max() <= 256
    assert (boxes[:, 2:] - boxes[:, :2]).max(axis=1).min() >= 5


def test_the_mask_of_buildings_is_the_area_that_buildings_paint() -> None:
    compared = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        plan = make_plan(rng)
        light = random_light(rng)
        plan.things = [replace(thing, height_px=0.0) for thing in plan.things]
        without = replace(plan, things=[thing for thing in plan.things if thing.label != "building"])
        drawn = draw(plan, light)
        painted = np.abs(drawn.image - draw(without, light).image).max(axis=2) > 6
        labelled = drawn.cover == MASK_LABELS.index("building") + 1
        core = np.asarray(Image.fromarray(labelled).convert("L").filter(ImageFilter.MinFilter(3))) > 0
        halo = np.asarray(Image.fromarray(labelled).convert("L").filter(ImageFilter.MaxFilter(3))) > 0
        assert not (painted & ~halo).any()
        if core.any():
            assert painted[core].mean() > 0.9
            compared += 1
    assert compared >= 4


def test_counts_in_captions_are_the_numbers_of_boxes(pictures: list[Picture]) -> None:
    stated = 0
    for picture in pictures:
        if len(picture.images) == 2:
            continue
        for caption in picture.record.captions:
            for label, n in stated_counts(caption, OBJECT_LABELS).items():
                assert n == sum(item.label == label for item in picture.record.objects), (caption, label)
                stated += 1
    assert stated > 40


def test_counts_in_change_captions_are_the_difference_of_the_dates(pairs: list[Picture]) -> None:
    stated = 0
    for picture in pairs:
        for caption in picture.record.captions:
            for label, n in stated_counts(caption, OBJECT_LABELS).items():
                counts = [sum(item.label == label for item in drawn.objects()) for drawn in picture.drawn]
                came = bool(re.search("built|constructed|put up|appear|added|installed|arrived", caption))
                came = came and "disappear" not in caption
                assert counts[1] - counts[0] == (n if came else -n), caption
                stated += 1
    assert stated >= 6


def test_a_pair_without_change_has_an_empty_mask_and_says_so(pairs: list[Picture]) -> None:
    quiet = [picture for picture in pairs if set(picture.record.captions) <= set(NO_CHANGE)]
    assert quiet
    for picture in quiet:
        assert not picture.mask.any()
        for label in MASK_LABELS:
            assert (picture.drawn[0].presence(label) == picture.drawn[1].presence(label)).all()
        assert np.abs(picture.images[0][0].astype(int) - picture.images[1][0]).mean() > 1


def test_a_change_mask_is_where_its_class_differs_between_the_dates(pairs: list[Picture]) -> None:
    loud = [picture for picture in pairs if not set(picture.record.captions) & set(NO_CHANGE)]
    assert loud
    for picture in loud:
        label = picture.record.mask_labels[0]
        differs = picture.drawn[0].presence(label) != picture.drawn[1].presence(label)
        assert differs.any()
        assert ((picture.mask == 1) == differs).all()
        for other in picture.record.mask_labels[1:]:
            assert (picture.drawn[0].presence(other) == picture.drawn[1].presence(other)).all()


def test_complete_names_every_class_that_is_drawn_but_trees_in_a_closed_forest(pictures: list[Picture]) -> None:
    for picture in pictures:
        forest = any(thing.label is None for thing in picture.drawn[-1].things)
        assert ("tree" in picture.record.complete) != forest
        assert {item.label for item in picture.record.objects} - {"tree"} <= set(picture.record.complete)


def test_about_five_scenes_in_a_hundred_are_validation() -> None:
    share = np.mean([split_of(f"1-{index:06d}") == "val" for index in range(4000)])
    assert 0.04 < share < 0.06

"""Converters of masks, of pairs, and of scene classes with captions."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsvlm_cli.errors import InputError
from tests.train.published_sets import convert, half, read_prepared, set_folder, write_image, write_json, write_pixels
from tests.train.published_sets import write_text as write
from train.data.convert.captions import distinct_captions, read_captions, read_change_captions, tidy_caption
from train.data.convert.readers import stretch_like_16_bit
from train.data.records import UNLABELLED


def write_palette_mask(path: Path, mask: np.ndarray, colour: tuple[int, int, int], set_index: int) -> None:
    """Write a palette PNG in which ``set_index`` has the colour and the other index is black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.where(mask, set_index, 1 - set_index).astype(np.uint8))
    black = (0, 0, 0)
    image.putpalette([*colour, *black] if set_index == 0 else [*black, *colour])
    image.save(path)
    assert image.mode == "P"


@pytest.mark.parametrize("set_index", [0, 1])
@pytest.mark.parametrize(
    ("name", "colour", "label"),
    [("gsi-japan-road", (255, 120, 80), "road"), ("gsi-japan-solar", (255, 255, 0), "solar panel")],
)
def test_a_palette_mask_is_read_by_its_colours_wherever_the_palette_puts_black(
    tmp_path, name, colour, label, set_index
):
    folder = set_folder(tmp_path, name)
    for stem in ("hflipped_107", "107"):
        write_image(folder / f"images/{stem}.jpg")
        write_palette_mask(folder / f"masks/{stem}.png", half(), colour, set_index)
    records = convert(name, tmp_path, tmp_path)
    record = records["hflipped_107"]
    np.testing.assert_array_equal(read_prepared(tmp_path, name, record.mask), half().astype(np.uint8))
    assert (record.mask_labels, record.gsd_m) == ((label,), 0.2)
    assert record.place == records["107"].place == "107"  # a flipped copy stays with its original


@pytest.mark.parametrize(("name", "stem"), [("vegas-road", "10217"), ("cil-roads", "satImage_003")])
def test_a_one_bit_road_mask_becomes_zero_and_one(tmp_path, name, stem):
    folder = set_folder(tmp_path, name)
    write_image(folder / f"images/{stem}.jpg")
    write_pixels(folder / f"masks/{stem}.png", half())
    record = convert(name, tmp_path, tmp_path)[stem]
    mask = read_prepared(tmp_path, name, record.mask)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, half())
    assert record.mask_labels == ("road",)


def test_the_cil_image_whose_mask_is_wrong_is_left_out_and_ten_numbers_are_one_place(tmp_path):
    folder = set_folder(tmp_path, "cil-roads")
    for number in ("029", "030", "039", "040", "192"):
        write_image(folder / f"images/satImage_{number}.jpg")
        write_pixels(folder / f"masks/satImage_{number}.png", half())
    records = convert("cil-roads", tmp_path, tmp_path)
    places = {record_id: (record.place, record.split) for record_id, record in records.items()}
    assert places == {
        "satImage_029": ("satImage block 2", "train"),
        "satImage_030": ("satImage block 3", "val"),
        "satImage_039": ("satImage block 3", "val"),
        "satImage_040": ("satImage block 4", "train"),
    }


def test_an_image_without_its_mask_is_one_error(tmp_path):
    write_image(set_folder(tmp_path, "vegas-road") / "images/1.jpg")
    with pytest.raises(InputError, match=r"1\.jpg: no mask 1\.png beside it"):
        convert("vegas-road", tmp_path, tmp_path)


def test_a_mask_of_another_size_is_one_error(tmp_path):
    folder = set_folder(tmp_path, "vegas-road")
    write_image(folder / "images/1.jpg", (8, 6))
    write_pixels(folder / "masks/1.png", half((6, 8)))
    with pytest.raises(InputError, match="8 x 6 px, but its mask has 6 x 8"):
        convert("vegas-road", tmp_path, tmp_path)


def test_dubai_takes_the_colours_from_the_file_that_is_right_and_the_rest_is_unlabelled(tmp_path):
    folder = set_folder(tmp_path, "dubai-landcover")
    colours = {
        "Building": "#010203",
        "Land (unpaved area)": "#0A0B0C",
        "Road": "#101112",
        "Vegetation": "#202122",
        "Water": "#303132",
        "Unlabeled": "#9B9B9B",
    }
    write_json(folder / "mask_colours_actual.json", colours)
    write_json(folder / "classes.json", {"Building": "#303132"})
    row = [(1, 2, 3), (10, 11, 12), (16, 17, 18), (32, 33, 34), (48, 49, 50), (155, 155, 155), (0, 0, 0), (1, 2, 4)]
    for stem in ("Tile1_image_part_001", "Tile1_image_part_002", "Tile2_image_part_001"):
        write_image(folder / f"images/{stem}.jpg", (8, 1))
        write_pixels(folder / f"masks/{stem}.png", np.array([row], np.uint8))
    records = convert("dubai-landcover", tmp_path, tmp_path)
    record = records["Tile1_image_part_001"]
    assert record.mask_labels == ("building", "unpaved land", "road", "vegetation", "water")
    mask = read_prepared(tmp_path, "dubai-landcover", record.mask)
    assert mask.tolist() == [[1, 2, 3, 4, 5, UNLABELLED, UNLABELLED, UNLABELLED]]
    splits = {record.place: record.split for record in records.values()}
    assert splits == {"Tile1": "val", "Tile2": "train"}


def test_dates_of_one_place_are_stretched_by_one_law_and_keep_their_difference():
    ramp = np.repeat(np.arange(10, 61, dtype=np.uint8)[None, :, None], 3, axis=2)
    before, after = stretch_like_16_bit([ramp, ramp + 50])
    # Together the values are 10 to 110, each of 60 (both dates) twice: 2 and 98 % are 12 and 108.
    values = np.concatenate([ramp, ramp + 50]).astype(float)
    expected = np.round((np.clip(values, 12, 108) - 12) * 255 / 96)
    np.testing.assert_allclose(np.concatenate([before, after]), expected, atol=1)
    assert before.dtype == np.uint8


def test_the_dark_forest_images_are_stretched_and_white_is_forest(tmp_path):
    folder = set_folder(tmp_path, "amazon-forest-s2")
    dark = np.zeros((10, 10, 3), np.uint8) + np.arange(5, 15, dtype=np.uint8)[:, None, None]
    write_pixels(folder / "images/10255.png", dark)
    write_pixels(folder / "masks/10255.png", half((10, 10)).astype(np.uint8) * 255)
    record = convert("amazon-forest-s2", tmp_path, tmp_path)["10255"]
    stored = read_prepared(tmp_path, "amazon-forest-s2", record.images[0])
    assert (stored.min(), stored.max()) == (0, 255)
    np.testing.assert_array_equal(stored, stretch_like_16_bit([dark])[0])
    np.testing.assert_array_equal(read_prepared(tmp_path, "amazon-forest-s2", record.mask), half((10, 10)))
    assert (record.mask_labels, record.gsd_m) == (("forest",), 10.0)


def test_oscd_keeps_the_labelled_cities_only_before_first(tmp_path):
    folder = set_folder(tmp_path, "oscd")
    for city in ("bercy", "rio"):
        write_image(folder / f"images/{city}/pair/img1.jpg", colour=(20, 20, 20))
        write_image(folder / f"images/{city}/pair/img2.jpg", colour=(60, 60, 60))
    mask = np.zeros((6, 8, 4), np.uint8)
    mask[..., 3] = 255  # opaque black is no change
    mask[half()] = 255
    write_pixels(folder / "labels/bercy/cm/cm.png", mask)
    records = convert("oscd", tmp_path, tmp_path)
    assert list(records) == ["bercy"]
    before, after = (read_prepared(tmp_path, "oscd", image) for image in records["bercy"].images)
    assert (before.max(), after.min()) == (0, 255)
    np.testing.assert_array_equal(read_prepared(tmp_path, "oscd", records["bercy"].mask), half())
    assert records["bercy"].mask_labels == ("urban change",)


def test_sztaki_sites_are_whole_places_and_archieve_is_the_ground_of_szada(tmp_path):
    folder = set_folder(tmp_path, "sztaki-airchange")
    for site in ("Szada_1", "Szada_2", "Tiszadob_1", "Archieve"):
        write_image(folder / site / "im1.jpg")
        write_image(folder / site / "im2.jpg")
        write_pixels(folder / site / "gt.png", half())
    records = convert("sztaki-airchange", tmp_path, tmp_path)
    assert {key: (record.place, record.split) for key, record in records.items()} == {
        "Archieve": ("Szada", "train"),
        "Szada_1": ("Szada", "train"),
        "Szada_2": ("Szada", "train"),
        "Tiszadob_1": ("Tiszadob", "val"),
    }
    assert records["Szada_1"].images == ("images/Szada_1_before.jpg", "images/Szada_1_after.jpg")
    np.testing.assert_array_equal(read_prepared(tmp_path, "sztaki-airchange", records["Szada_1"].mask), half())


def write_pair(folder: Path, stem: str, *, label: bool) -> None:
    write_image(folder / "A" / f"{stem}.jpg", colour=(10, 10, 10))
    write_image(folder / "B" / f"{stem}.jpg", colour=(200, 200, 200))
    if label:
        write_pixels(folder / "label" / f"{stem}.png", half().astype(np.uint8) * 255)


def test_change_crops_share_the_place_of_the_image_they_are_cut_from(tmp_path):
    folder = set_folder(tmp_path, "cd-samples")
    write_pair(folder / "levir-cd-256", "test_2_0000_0512", label=True)
    write_pair(folder / "levir-cd-256", "test_113_0256", label=False)
    write_pair(folder / "levir-cd-1024", "test_2", label=True)
    write_pair(folder / "dsifn-cd-256", "2_4", label=True)
    write_pair(folder / "levir-cc-example", "train_000016", label=False)
    write_json(
        folder / "levir-cc-example/captions.json", {"train_000016": ["A road is built .", "a road is built", "Houses."]}
    )
    records = convert("cd-samples", tmp_path, tmp_path)
    assert {key: record.place for key, record in records.items()} == {
        "levir-cd-256_test_2_0000_0512": "levir test_2",
        "levir-cd-1024_test_2": "levir test_2",
        "dsifn-cd-256_2_4": "dsifn 2",
        "levir-cc-example_train_000016": "levir-cc train_000016",
    }  # a pair with neither mask nor captions teaches nothing
    captioned = records["levir-cc-example_train_000016"]
    assert captioned.captions == ("a road is built", "houses")
    assert (captioned.mask, captioned.mask_labels) == (None, ())
    pair = records["levir-cd-1024_test_2"]
    before, after = (read_prepared(tmp_path, "cd-samples", image) for image in pair.images)
    assert before.max() < 30 < 180 < after.min()
    np.testing.assert_array_equal(read_prepared(tmp_path, "cd-samples", pair.mask), half())
    assert (pair.mask_labels, pair.gsd_m) == (("building",), 0.5)


def test_aid_folders_become_scene_names_and_copies_of_a_caption_are_dropped(tmp_path):
    folder = set_folder(tmp_path, "aid150-rsicd")
    names = ("BareLand/bareland_29.jpg", "BareLand/bareland_30.jpg", "StorageTanks/storagetanks_30.jpg")
    for name in names:
        write_image(folder / "images" / name)
    raw = ["Some tanks , near  a road .", "some tanks, near a road.", "  ", "Two tanks ."]
    write_json(folder / "captions_rsicd.json", {names[2]: {"rsicd_split": "train", "raw": raw}})
    records = convert("aid150-rsicd", tmp_path, tmp_path)
    tanks = records["storagetanks_30"]
    assert (tanks.scene, tanks.captions) == ("storage tanks", ("some tanks, near a road", "two tanks"))
    assert (records["bareland_29"].scene, records["bareland_29"].captions) == ("bare land", ())
    places = [(records[key].place, records[key].split) for key in ("bareland_29", "bareland_30", "storagetanks_30")]
    assert places == [("bareland block 2", "train"), ("bareland block 3", "val"), ("storagetanks block 3", "val")]


def test_a_tidy_caption_is_lower_case_without_loose_punctuation():
    assert tidy_caption(" Many planes\tare parked , here .. ") == "many planes are parked, here"
    assert distinct_captions(["A b .", "", "a b", "c"]) == ("a b", "c")


def test_texts_without_images_are_read_in_both_sets_and_absent_sets_are_empty(tmp_path):
    assert (read_captions(tmp_path), read_change_captions(tmp_path)) == ([], [])
    folder = tmp_path / "annotations-without-images"
    write_json(folder / "ucm-captions/captions_train.json", {"1.tif": ["There is a field .", "There is a field ."]})
    write_json(folder / "ucm-captions/captions_val.json", {"2.tif": ["A pond ."]})
    write_json(folder / "levir-cc/captions_train.json", {"train_1": ["no change has occurred"]})
    write(folder / "levir-cc/README.txt", "not JSON")
    assert read_captions(tmp_path) == ["there is a field", "there is a field", "a pond"]
    assert read_change_captions(tmp_path) == ["no change has occurred"]

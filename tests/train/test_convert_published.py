"""Public sets in their publishers' layouts, and layouts of one's own data: tiny fakes, compared value by value."""

import hashlib

import numpy as np
import pytest

from rsvlm_cli.errors import InputError
from tests.train.published_sets import convert, half, read_prepared, write_image, write_json, write_pixels
from tests.train.published_sets import write_text as write
from train.data.check import check_published
from train.data.convert import REGISTRY, llava
from train.data.convert.readers import cut_boxes, plan_tiles
from train.data.records import LabelledBox


def box(label, *corners):
    return LabelledBox(label=label, box_px=corners)


def test_a_folder_a_class_gives_scenes_and_a_named_side_is_kept(tmp_path):
    write_image(tmp_path / "set/train/DenseResidential/a.jpg")
    write_image(tmp_path / "set/test/bare_land/a.png")
    records = convert("folders", tmp_path / "set", tmp_path)
    found = {key: (record.scene, record.split) for key, record in records.items()}
    assert found == {
        "train_DenseResidential_a": ("dense residential", "train"),
        "val_bare_land_a": ("bare land", "val"),
    }


def test_a_block_of_aid_numbers_is_one_place(tmp_path):
    for number in (1, 9, 10):
        write_image(tmp_path / f"set/BareLand/bareland_{number}.jpg")
    records = convert("aid", tmp_path / "set", tmp_path)
    assert {record.scene for record in records.values()} == {"bare land"}
    places = [records[f"bareland_{number}"].place for number in (1, 9, 10)]
    assert places == ["bareland block 0", "bareland block 0", "bareland block 1"]


def sentences(*texts):
    return [{"raw": text} for text in texts]


def test_rsicd_captions_are_tidy_and_its_file_names_tell_the_scene(tmp_path):
    images = [
        {"filename": "railwaystation_3.jpg", "split": "train", "sentences": sentences("A  station .", "a station")},
        {"filename": "00001.jpg", "split": "test", "sentences": sentences("Many trees .")},
    ]
    write_json(tmp_path / "set/dataset_rsicd.json", {"images": images})
    for image in images:
        write_image(tmp_path / "set/RSICD_images" / image["filename"])
    records = convert("rsicd", tmp_path / "set", tmp_path)
    station, trees = records["railwaystation_3"], records["00001"]
    assert (station.captions, station.scene, station.split) == (("a station",), "railway station", "train")
    assert (trees.captions, trees.scene, trees.split) == (("many trees",), None, "val")


def test_coco_polygons_boxes_and_crowds(tmp_path):
    write_image(tmp_path / "set/images/a.png", (40, 30))
    square = [10, 5, 20, 5, 20, 15, 10, 15]
    write_json(
        tmp_path / "set/annotations/instances_val.json",
        {
            "categories": [{"id": 4, "name": "Storage_Tank"}, {"id": 9, "name": "ship"}],
            "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
            "annotations": [
                {"image_id": 1, "category_id": 4, "bbox": [10, 5, 11, 11], "segmentation": [square], "iscrowd": 0},
                {"image_id": 1, "category_id": 9, "bbox": [0, 0, 30, 30], "segmentation": {"counts": ""}, "iscrowd": 1},
            ],
        },
    )
    (record,) = convert("coco", tmp_path / "set", tmp_path).values()
    assert record.objects == (box("storage tank", 10.0, 5.0, 21.0, 16.0),)
    assert (record.complete, record.split) == (("storage tank",), "val")  # of ships there is a crowd
    mask = read_prepared(tmp_path, "coco", record.mask)
    assert (mask[10, 15], mask[20, 15], record.mask_labels) == (1, 0, ("storage tank",))


def test_dota_is_cut_into_tiles_and_half_shown_boxes_are_not_claimed(tmp_path):
    write_image(tmp_path / "set/train/images/P1.png", (2048, 1024))
    lines = ("1000 10 1020 10 1020 30 1000 30 ship 0", "1020 500 1060 500 1060 540 1020 540 plane 1")
    write(tmp_path / "set/train/labelTxt-v1.0/labelTxt/P1.txt", "imagesource:GoogleEarth", "gsd:0.5", *lines)
    own = convert("dota-text", tmp_path / "set", tmp_path)
    left, right = own["P1_0_0"], own["P1_1024_0"]
    assert left.objects == (box("ship", 1000.0, 10.0, 1020.0, 30.0),)
    assert right.objects == (box("airplane", 0.0, 500.0, 36.0, 540.0),)
    assert (left.complete, right.complete) == (("ship",), ("airplane", "ship"))
    assert (left.gsd_m, left.split, left.place) == (0.5, "train", right.place)
    assert read_prepared(tmp_path, "dota-text", left.images[0]).shape == (1024, 1024, 3)
    assert all(record.complete == () for record in convert("dota", tmp_path / "set", tmp_path).values())


def voc_object(name, corners, description=None):
    bounds = "".join(f"<{key}>{v}</{key}>" for key, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    said = f"<description>{description}</description>" if description else ""
    return f"<object><name>{name}</name><bndbox>{bounds}</bndbox>{said}</object>"


def test_voc_reads_boxes_and_the_listed_side(tmp_path):
    for stem in ("00001", "00002"):
        write_image(tmp_path / f"set/JPEGImages/{stem}.jpg", (50, 40))
    first = voc_object("Expressway-Service-area", (5, 2, 60, 20)) + voc_object("ship", (1, 1, 9, 9))
    write(tmp_path / "set/Annotations/00001.xml", f"<annotation>{first}</annotation>")
    write(tmp_path / "set/Annotations/00002.xml", "<annotation></annotation>")
    write(tmp_path / "set/ImageSets/Main/trainval.txt", "00001", "00002")
    write(tmp_path / "set/ImageSets/Main/val.txt", "00002")
    records = convert("dior", tmp_path / "set", tmp_path)
    service, ship = box("expressway service area", 5.0, 2.0, 50.0, 20.0), box("ship", 1.0, 1.0, 9.0, 9.0)
    assert records["00001"].objects == (service, ship)
    assert records["00002"].complete == ("expressway service area", "ship")
    assert [records[stem].split for stem in ("00001", "00002")] == ["train", "val"]


def test_a_voc_object_without_a_name_or_corner_is_one_line(tmp_path):
    write_image(tmp_path / "set/JPEGImages/1.jpg")
    write(tmp_path / "set/Annotations/1.xml", f"<annotation>{voc_object('', (1, 1, 9, 9))}</annotation>")
    with pytest.raises(InputError, match=r"1\.xml: object 1 has no name"):
        convert("voc", tmp_path / "set", tmp_path)
    write(tmp_path / "set/Annotations/1.xml", "<annotation><object><name>ship</name></object></annotation>")
    with pytest.raises(InputError, match=r"1\.xml: object 1: .*wanted bndbox/xmin"):
        convert("voc", tmp_path / "set", tmp_path)


def test_dior_rsvg_lists_count_objects_over_all_files(tmp_path):
    descriptions = (("00001", ("A ship in the North.", "The small ship .")), ("00002", ("A dam",)))
    for stem, texts in descriptions:
        write_image(tmp_path / f"set/JPEGImages/{stem}.jpg", (50, 40))
        objects = "".join(voc_object("ship", (4, 4 + 10 * k, 20, 12 + 10 * k), t) for k, t in enumerate(texts))
        write(tmp_path / f"set/Annotations/{stem}.xml", f"<annotation>{objects}</annotation>")
    write(tmp_path / "set/train.txt", "0", "2")
    write(tmp_path / "set/test.txt", "1")
    records = convert("dior-rsvg", tmp_path / "set", tmp_path)
    assert records["00001"].phrases == (
        box("a ship in the north", 4.0, 4.0, 20.0, 12.0),
        box("the small ship", 4.0, 14.0, 20.0, 22.0),
    )
    assert (records["00001"].split, records["00002"].split) == ("val", "train")
    assert records["00001"].complete == ()


@pytest.mark.parametrize("names", ["names: [car, swimming_pool]", "names:\n  1: swimming_pool\n  0: car"])
def test_yolo_boxes_and_outlines(tmp_path, names):
    for stem in ("a", "b"):
        write_image(tmp_path / f"set/images/train/{stem}.jpg", (100, 50))
    write(tmp_path / "set/data.yaml", names)
    write(tmp_path / "set/labels/train/a.txt", "0 0.5 0.5 0.1 0.2", "1 0.1 0.2 0.4 0.2 0.4 0.8")
    records = convert("yolo", tmp_path / "set", tmp_path)
    pool = box("swimming pool", 10.0, 10.0, 40.0, 40.0)
    assert records["train_a"].objects == (box("car", 45.0, 20.0, 55.0, 30.0), pool)
    assert (records["train_b"].objects, records["train_b"].complete) == ((), ("car", "swimming pool"))


def test_pairs_keep_before_and_after_and_the_label_of_the_set(tmp_path):
    for folder, colour in (("A", (10, 20, 30)), ("B", (200, 0, 0))):
        write_image(tmp_path / f"set/val/{folder}/x.png", colour=colour)
    write_pixels(tmp_path / "set/val/label/x.png", half().astype(np.uint8) * 255)
    (record,) = convert("levir-cd", tmp_path / "set", tmp_path).values()
    assert [read_prepared(tmp_path, "levir-cd", path)[0, 0].tolist() for path in record.images] == [
        [10, 20, 30],
        [200, 0, 0],
    ]
    assert (record.mask_labels, record.split, record.gsd_m) == (("building",), "val", 0.5)
    np.testing.assert_array_equal(read_prepared(tmp_path, "levir-cd", record.mask), half())
    (own,) = convert("pairs", tmp_path / "set/val", tmp_path).values()
    assert (own.mask_labels, own.gsd_m) == (("land change",), None)


def test_oscd_as_published_has_three_folders(tmp_path):
    base = tmp_path / "set" / "Onera Satellite Change Detection dataset - "
    for city, side in (("paris", "Train"), ("milano", "Test")):
        for name in ("img1.png", "img2.png"):
            write_image(base.with_name(f"{base.name}Images") / city / "pair" / name)
        write_pixels(base.with_name(f"{base.name}{side} Labels") / city / "cm/cm.png", half())
    records = convert("oscd-full", tmp_path / "set", tmp_path)
    assert {city: record.split for city, record in records.items()} == {"paris": "train", "milano": "val"}


def xbd_label(*buildings):
    features = [{"properties": {"feature_type": "building"} | p, "wkt": wkt} for p, wkt in buildings]
    return {"features": {"xy": features, "lng_lat": []}}


def test_xbd_damage_is_a_mask_of_the_pair_and_the_image_before_teaches_buildings(tmp_path):
    first, second = "POLYGON ((2 2, 12 2, 12 12, 2 12, 2 2))", "POLYGON ((20 4, 30 4, 30 10, 20 10, 20 4))"
    third = "POLYGON ((40 20, 48 20, 48 30, 40 30, 40 20))"
    root = tmp_path / "set/tier3"
    for when in ("pre", "post"):
        write_image(root / f"images/flood_00000001_{when}_disaster.png", (64, 40))
    write_json(root / "labels/flood_00000001_pre_disaster.json", xbd_label(({}, first), ({}, second), ({}, third)))
    after = (({"subtype": "destroyed"}, first), ({"subtype": "minor-damage"}, second))
    write_json(
        root / "labels/flood_00000001_post_disaster.json", xbd_label(*after, ({"subtype": "un-classified"}, third))
    )
    records = convert("xbd", tmp_path / "set", tmp_path)
    pair, before = records["flood_00000001"], records["flood_00000001_before"]
    mask = read_prepared(tmp_path, "xbd", pair.mask)
    assert [mask[y, x] for x, y in ((5, 5), (25, 6), (44, 25), (60, 38))] == [2, 1, 255, 0]
    assert pair.mask_labels == ("damaged building", "destroyed building")
    assert before.objects[0] == box("building", 2.0, 2.0, 12.0, 12.0)
    assert (before.images, before.complete, len(before.objects)) == (pair.images[:1], ("building",), 3)
    assert {pair.split, before.split} == {"train"}


@pytest.mark.parametrize("with_mask", [False, True])
def test_levir_cc_sentences_and_the_masks_of_levir_mci(tmp_path, with_mask):
    for date in ("A", "B"):
        write_image(tmp_path / f"set/images/test/{date}/test_1.png")
    if with_mask:
        write_pixels(tmp_path / "set/images/test/label/test_1.png", half().astype(np.uint8) * 2)
    entry = {
        "filename": "test_1.png",
        "filepath": "test",
        "split": "test",
        "sentences": sentences(" a road is built ."),
    }
    write_json(tmp_path / "set/LevirCCcaptions.json", {"images": [entry]})
    (record,) = convert("levir-cc", tmp_path / "set", tmp_path).values()
    assert (record.captions, record.split, len(record.images)) == (("a road is built",), "val", 2)
    assert record.mask_labels == (("road", "building") if with_mask else ())
    if with_mask:
        np.testing.assert_array_equal(read_prepared(tmp_path, "levir-cc", record.mask), half() * 2)


def write_rsvqa(root, answers):
    questions = [
        {"id": 0, "img_id": 7, "type": "presence", "question": "Is a road present?", "active": True},
        {"id": 1, "img_id": 7, "type": "area", "question": "What is the area of water?", "active": True},
        {"id": 2, "active": False},
    ]
    write_json(root / "LR_split_train_questions.json", {"questions": questions})
    write_json(root / "LR_split_train_answers.json", {"answers": answers})
    write_image(root / "Images_LR/7.tif")


def test_rsvqa_joins_questions_and_answers_and_leaves_areas_out(tmp_path):
    answers = [{"id": 5, "question_id": 0, "answer": "Yes", "active": True}]
    write_rsvqa(tmp_path / "set", [*answers, {"id": 6, "question_id": 1, "answer": "120m2", "active": True}])
    (record,) = convert("rsvqa-lr", tmp_path / "set", tmp_path).values()
    assert record.questions == (("Is a road present?", "yes"),)
    assert (record.id, record.split, record.gsd_m) == ("7", "train", 10.0)
    assert record.images == ("images/7.png",)


def test_an_rsvqa_question_without_an_answer_is_one_line(tmp_path):
    write_rsvqa(tmp_path / "set", [])
    with pytest.raises(InputError, match="question 0 has no answer"):
        convert("rsvqa-lr", tmp_path / "set", tmp_path)


def test_loveda_numbers_become_classes_and_no_data_is_unlabelled(tmp_path):
    folder = tmp_path / "set/Val/Rural"
    write_image(folder / "images_png/12.png", (4, 2))
    write_pixels(folder / "masks_png/12.png", np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.uint8))
    (record,) = convert("loveda", tmp_path / "set", tmp_path).values()
    stored = read_prepared(tmp_path, "loveda", record.mask)
    np.testing.assert_array_equal(stored, [[255, 0, 1, 2], [3, 4, 5, 6]])
    assert (record.mask_labels[2], record.split) == ("water", "val")
    assert record.questions == (("Is this area rural or urban?", "rural"),)
    write_pixels(folder / "masks_png/12.png", np.full((2, 4), 9, np.uint8))
    with pytest.raises(InputError, match="holds class 9, wanted 0 to 7"):
        convert("loveda", tmp_path / "set", tmp_path)


def test_isprs_colours_are_classes_and_the_contests_sides_hold(tmp_path):
    colours = np.zeros((1000, 1600, 3), np.uint8)
    colours[:, :800] = (0, 0, 255)
    colours[:, 800:1200] = (255, 255, 0)
    colours[:, 1200:] = (255, 0, 0)
    for area in ("2_10", "2_13"):
        write_image(tmp_path / f"set/2_Ortho_RGB/top_potsdam_{area}_RGB.tif", (1600, 1000))
        write_pixels(tmp_path / f"set/5_Labels_all/top_potsdam_{area}_label.tif", colours)
    records = convert("isprs-potsdam", tmp_path / "set", tmp_path)
    assert sorted(records) == ["2_10_0_0", "2_10_1000_0", "2_13_0_0", "2_13_1000_0"]
    right = records["2_10_1000_0"]
    mask = read_prepared(tmp_path, "isprs-potsdam", right.mask)
    assert (mask.shape, mask[0, 0], mask[0, 599]) == ((1000, 600), 5, 0)
    assert (right.split, records["2_13_0_0"].split, right.gsd_m) == ("train", "val", 0.05)


def test_vaihingen_areas_without_a_published_mask_are_left_out(tmp_path):
    for area in (1, 2):
        write_image(tmp_path / f"set/top/top_mosaic_09cm_area{area}.tif", (20, 10))
    write_pixels(
        tmp_path / "set/gts_for_participants/top_mosaic_09cm_area1.tif", np.full((10, 20, 3), (0, 255, 0), np.uint8)
    )
    (record,) = convert("isprs-vaihingen", tmp_path / "set", tmp_path).values()
    assert (record.id, record.split, record.gsd_m) == ("1_0_0", "train", 0.09)
    assert (read_prepared(tmp_path, "isprs-vaihingen", record.mask) == 4).all()


def vrsbench(coord=(0.1, 0.2, 0.5, 0.9)):
    objects = [
        {"obj_cls": "small-vehicle", "obj_coord": coord, "is_unique": True, "referring_sentence": "The only car."},
        {"obj_cls": "ship", "obj_coord": (0.6, 0.0, 0.9, 0.5), "is_unique": False, "referring_sentence": "A ship."},
    ]
    asked = [{"ques_id": 1, "question": "How many ships?", "answer": "2", "type": "object quantity"}]
    return {"image": "P1.png", "caption": "An image .", "objects": objects, "qa_pairs": asked}


def test_vrsbench_gives_captions_unique_descriptions_and_questions(tmp_path):
    write_image(tmp_path / "set/Images_train/P1.png", (100, 50))
    write_json(tmp_path / "set/Annotations_train/P1.json", vrsbench())
    (record,) = convert("vrsbench", tmp_path / "set", tmp_path).values()
    assert record.phrases == (box("the only car", 10.0, 10.0, 50.0, 45.0),)
    assert [o.label for o in record.objects] == ["small vehicle", "ship"]
    assert (record.captions, record.questions) == (("an image",), (("How many ships?", "2"),))
    write_json(tmp_path / "set/Annotations_train/P1.json", vrsbench((10, 20, 50, 90)))
    with pytest.raises(InputError, match=r"wanted shares of the image in \[0, 1\]"):
        convert("vrsbench", tmp_path / "set", tmp_path)


def test_llava_turns_stand_alone_and_coordinates_of_another_family_are_left_out(tmp_path, caplog):
    write_image(tmp_path / "set/images/a.png")
    said = [
        ("human", "<image>\nWhat is this?"),
        ("gpt", "A harbour."),
        ("human", "Where is the ship?"),
        ("gpt", "It is at [0.1, 0.2, 0.3, 0.4]."),
        ("human", "How many ships (roughly)?"),
        ("gpt", "12, I think."),
    ]
    turns = [{"from": who, "value": text} for who, text in said]
    write_json(
        tmp_path / "set/train.json",
        [{"id": "1", "image": "images/a.png", "conversations": turns}, {"id": "2", "conversations": turns[:2]}],
    )
    (record,) = convert("llava", tmp_path / "set", tmp_path).values()
    assert record.questions == (("What is this?", "A harbour."), ("How many ships (roughly)?", "12, I think."))
    assert "1 turns with coordinates left out" in caplog.text
    write_json(tmp_path / "set/train.json", [{"id": "1", "image": "../out.png", "conversations": turns}])
    with pytest.raises(InputError, match="which is not below"):
        convert("llava", tmp_path / "set", tmp_path)


@pytest.mark.parametrize("text", ["<box>12", "{<10><20>}", "(12, 40)", "[0.5, 1]", "<quad>"])
def test_coordinates_are_seen(text):
    assert llava.COORDINATES.search(text)


def test_tiles_share_no_pixel_and_cover_all():
    for size_px in ((2500, 1024), (1500, 700), (1537, 1024), (40, 30)):
        covered = np.zeros(size_px[::-1], int)
        for x1, y1, x2, y2 in plan_tiles(size_px, 1024):
            covered[y1:y2, x1:x2] += 1
        assert (covered == 1).all()
    assert plan_tiles((1500, 700), 1024) == [(0, 0, 1500, 700)]
    assert cut_boxes([box("ship", 0, 0, 10, 10)], (8, 0, 20, 20)) == ((), {"ship"})


def test_a_public_sets_archives_are_hashed_and_its_layout_is_tried(tmp_path):
    write_image(tmp_path / "airfield/a.jpg")
    assert [good for _, good in check_published(REGISTRY["ucmerced"], tmp_path)] == [True]
    (tmp_path / "UCMerced_LandUse.zip").write_bytes(b"cut short")
    (line, good), _ = check_published(REGISTRY["ucmerced"], tmp_path)
    assert not good
    assert hashlib.md5(b"cut short").hexdigest() in line
    (line, good), *_ = check_published(REGISTRY["xbd"], tmp_path)
    assert not good
    assert "holds no image of the layout" in line

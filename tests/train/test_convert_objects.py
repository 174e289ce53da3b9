"""Converters of boxes and points."""

from pathlib import Path

import numpy as np
import pytest

from rsvlm_cli.errors import InputError
from tests.train.published_sets import convert, half, read_prepared, set_folder, write_image, write_json, write_pixels
from tests.train.published_sets import write_text as write
from train.data.convert import coco
from train.data.records import LabelledBox


def box(label, *corners):
    return LabelledBox(label=label, box_px=corners)


def test_a_building_tile_keeps_its_boxes_and_learns_its_ground_size_and_zoom_19_place(tmp_path):
    folder = set_folder(tmp_path, "buildings-openaerialmap")
    for stem in ("s2_5_9_20", "s2_2_4_19"):
        write_image(folder / "images" / f"{stem}.png", (256, 256))
        write_pixels(folder / "masks" / f"{stem}.png", half((256, 256)))
    # The image is a JPEG in the list: the copies differ, the stem is what counts.
    write(
        folder / "tiles_and_boxes.csv",
        "image,set,zoom,west,south,east,north,width,height,n_buildings,boxes_xyxy_px",
        's2_5_9_20.jpg,2,20,0,59.99,0,60.01,256,256,3,"[[-3.0,10.0,40.5,50.0],[250,250,300,300],[255,0,256,90]]"',
        "s2_2_4_19.png,2,19,0,-0.01,0,0.01,256,256,0,[]",
    )
    records = convert("buildings-openaerialmap", tmp_path, tmp_path)
    tile, empty = records["s2_5_9_20"], records["s2_2_4_19"]
    # The third box is a sliver of one pixel at the edge.
    assert tile.objects == (box("building", 0.0, 10.0, 40.5, 50.0), box("building", 250.0, 250.0, 256.0, 256.0))
    assert tile.place == empty.place == "s2_2_4"
    assert tile.gsd_m == pytest.approx(0.1493 / 2, abs=1e-3)  # cos 60 is one half
    assert empty.gsd_m == pytest.approx(0.2986, abs=1e-3)
    assert (empty.objects, empty.complete) == ((), ("building",))
    mask = read_prepared(tmp_path, "buildings-openaerialmap", tile.mask)
    np.testing.assert_array_equal(mask, half((256, 256)).astype(np.uint8))


def write_cars(root: Path, label_line: str) -> None:
    folder = set_folder(root, "aerial-cars")
    write(folder / "classes.txt", "car", "truck", "bus", "minibus", "cyclist")
    write(
        folder / "index.csv",
        "image,sequence,orig_w,orig_h,w,h,n_cars",
        "kit-ais/images/A1.jpg,KIT_MunichStreet02,0,0,0,0,0",
        "minsk/images/B1.jpg,OSM_DJI_0005,0,0,0,0,0",
        "minsk/images/B2.jpg,OSM_DJI_0010,0,0,0,0,0",
        "minsk/images/gone.jpg,OSM_DJI_0010,0,0,0,0,0",
    )
    write_image(folder / "kit-ais/images/A1.jpg", (200, 100))
    write(folder / "kit-ais/labels_yolo/A1.txt", label_line)
    for stem in ("B1", "B2"):
        write_image(folder / f"minsk/images/{stem}.jpg", (100, 50))
        write(folder / f"minsk/labels_yolo/{stem}.txt", "3 0.1 0.5 0.4 0.2", "4 0.5 0.5 0.1 0.1")


def test_vehicles_are_read_from_shares_of_the_image_and_all_of_minsk_is_one_place(tmp_path):
    write_cars(tmp_path, "0 0.5 0.5 0.1 0.2")
    records = convert("aerial-cars", tmp_path, tmp_path)
    assert sorted(records) == ["A1", "B1", "B2"]  # what the list names and this copy lacks is skipped
    assert records["A1"].objects == (box("car", 90.0, 40.0, 110.0, 60.0),)
    assert (records["A1"].split, records["A1"].gsd_m) == ("val", 0.15)
    assert records["B1"].objects == (box("minibus", 0.0, 20.0, 30.0, 30.0),)  # cut at the edge; no cyclist
    assert records["B1"].place == records["B2"].place
    assert (records["B1"].split, records["B1"].complete) == ("train", ("car", "bus", "minibus", "truck"))


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1", "9 0.5 0.5 0.1 0.1", "car 0.5 0.5 0.1 0.1"])
def test_a_broken_label_line_is_one_error_with_file_and_line(tmp_path, line):
    write_cars(tmp_path, line)
    with pytest.raises(InputError, match=r"A1\.txt: line 1 is .*wanted: class cx cy w h"):
        convert("aerial-cars", tmp_path, tmp_path)


def test_tree_crowns_come_from_voc_files_and_a_geotiff_becomes_an_rgb_png(tmp_path):
    folder = set_folder(tmp_path, "neon-trees")
    pixels = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    write_pixels(folder / "images/SJER_002_2017.tif", pixels)
    write_image(folder / "images/SJER_002.jpg", (30, 20))
    bounds = "<object><name></name><bndbox><xmin>5</xmin><ymin>2</ymin><xmax>31</xmax><ymax>18</ymax></bndbox></object>"
    for stem in ("SJER_002", "SJER_002_2017", "SJER_003"):
        write(folder / f"annotations_xml/{stem}.xml", f"<annotation>{bounds}</annotation>")
    records = convert("neon-trees", tmp_path, tmp_path)
    assert sorted(records) == ["SJER_002", "SJER_002_2017"]
    assert records["SJER_002"].place == records["SJER_002_2017"].place == "SJER_002"
    flown_2017 = records["SJER_002_2017"]
    assert flown_2017.images == ("images/SJER_002_2017.png",)
    np.testing.assert_array_equal(read_prepared(tmp_path, "neon-trees", flown_2017.images[0]), pixels)
    assert flown_2017.objects == (box("tree", 5.0, 2.0, 30.0, 18.0),)
    assert flown_2017.complete == ()


def test_urban_trees_are_distinct_points_and_no_file_means_no_tree(tmp_path):
    folder = set_folder(tmp_path, "urban-trees-naip")
    for stem in ("long_beach_2016_4", "long_beach_2018_4"):
        write_image(folder / f"images_rgb/{stem}.jpg")
    write(folder / "csv/long_beach_2016_4.csv", "x,y", "3,4", "5,1", "3,4")
    records = convert("urban-trees-naip", tmp_path, tmp_path)
    assert records["long_beach_2016_4"].points == (("tree", 3.0, 4.0), ("tree", 5.0, 1.0))
    assert records["long_beach_2018_4"].points == ()
    assert {record.place for record in records.values()} == {"long_beach_4"}
    assert all(record.complete == ("tree",) and record.gsd_m == 0.6 for record in records.values())


def test_a_plane_chip_is_a_point_in_its_middle_and_its_place_is_the_ground_not_the_scene(tmp_path):
    folder = set_folder(tmp_path, "planes-planetscope")
    plane, other_day = "1__20160101_1_0e__-117.86_33.68", "0__20170202_2_0f__-117.87_33.69"
    same_scene = "0__20160101_1_0e__-122.41_37.62"
    for stem in (plane, other_day, same_scene):
        write_image(folder / f"chips/{stem}.png", (20, 20))
    records = convert("planes-planetscope", tmp_path, tmp_path)
    assert records[plane].points == (("airplane", 10.0, 10.0),)
    assert records[other_day].points == ()
    assert records[other_day].complete == ("airplane",)
    assert records[plane].place == records[other_day].place != records[same_scene].place
    assert [records[stem].split for stem in (plane, other_day, same_scene)] == ["val", "val", "train"]


def write_nwpu(root: Path) -> None:
    folder = set_folder(root, "nwpu-vhr10")
    for name in ("005.jpg", "009.jpg"):
        write_image(folder / "images" / name, (40, 30))
    square, inner = [10, 5, 20, 5, 20, 15, 10, 15], [12, 7, 14, 7, 14, 9, 12, 9]
    write_json(
        folder / "annotations_coco.json",
        {
            "categories": [{"id": 1, "name": "storage_tank"}, {"id": 2, "name": "ship"}, {"id": 3, "name": "vehicle"}],
            "images": [
                {"id": 7, "file_name": "005.jpg", "width": 40, "height": 30},
                {"id": 8, "file_name": "009.jpg", "width": 40, "height": 30},
                {"id": 9, "file_name": "999.jpg", "width": 40, "height": 30},
            ],
            "annotations": [
                # The smaller one first: it must still lie on top.
                {"image_id": 7, "category_id": 3, "bbox": [12, 7, 4, 3], "segmentation": [inner]},
                {"image_id": 7, "category_id": 1, "bbox": [10, 5, 11, 11], "segmentation": [square]},
                {"image_id": 8, "category_id": 1, "bbox": [0, 0, 50, 20], "segmentation": [square]},
                {"image_id": 9, "category_id": 1, "bbox": [0, 0, 50, 20], "segmentation": [square]},
            ],
        },
    )


def test_nwpu_boxes_become_corners_and_outlines_a_mask_with_small_objects_on_top(tmp_path):
    write_nwpu(tmp_path)
    records = convert("nwpu-vhr10", tmp_path, tmp_path)
    assert sorted(records) == ["005", "009"]
    record = records["005"]
    assert record.objects == (box("vehicle", 12.0, 7.0, 16.0, 10.0), box("storage tank", 10.0, 5.0, 21.0, 16.0))
    assert record.mask_labels == ("storage tank", "vehicle")
    mask = read_prepared(tmp_path, "nwpu-vhr10", record.mask)
    assert (mask[13, 18], mask[8, 13], mask[2, 2]) == (1, 2, 0)
    assert records["009"].objects == (box("storage tank", 0.0, 0.0, 40.0, 20.0),)
    assert record.place == records["009"].place == "block 0"


def test_nwpu_says_nothing_about_vehicles_where_none_is_labelled(tmp_path):
    write_nwpu(tmp_path)
    records = convert("nwpu-vhr10", tmp_path, tmp_path)
    assert records["005"].complete == ("storage tank", "ship", "vehicle")
    assert records["009"].complete == ("storage tank", "ship")


def test_a_polygon_is_filled_by_its_value_alone():
    mask = coco.draw_outlines([(4, [[1, 1, 3, 1, 3, 2, 1, 2]])], (6, 5))
    expected = np.zeros((5, 6), np.uint8)
    expected[1:3, 1:4] = 4
    np.testing.assert_array_equal(mask, expected)


def test_dota_corners_become_the_smallest_upright_box_with_readable_words(tmp_path):
    folder = set_folder(tmp_path, "dota-devkit-example")
    write_image(folder / "images/P1.jpg", (100, 80))
    write_image(folder / "images/P2.jpg", (100, 80))
    write(
        folder / "labelTxt/P1.txt",
        "imagesource:GoogleEarth",
        "gsd:0.25",
        "20 10 30 20 20 30 10 20 large-vehicle 1",
        "90 70 120 70 120 90 90 90 ship 0",
    )
    write(folder / "labelTxt/P2.txt", "imagesource:GF", "gsd:null", "20 10 30 20 20 30 10 20 plane 0")
    records = convert("dota-devkit-example", tmp_path, tmp_path)
    assert records["P1"].gsd_m == 0.25
    large, ship = box("large vehicle", 10.0, 10.0, 30.0, 30.0), box("ship", 90.0, 70.0, 100.0, 80.0)
    assert records["P1"].objects == (large, ship)
    assert records["P2"].gsd_m is None
    assert records["P2"].objects == (box("airplane", 10.0, 10.0, 30.0, 30.0),)


def test_an_image_is_taken_over_byte_by_byte(tmp_path):
    folder = set_folder(tmp_path, "urban-trees-naip")
    write_image(folder / "images_rgb/chico_2018_0.jpg")
    record = convert("urban-trees-naip", tmp_path, tmp_path)["chico_2018_0"]
    taken = tmp_path / "out/urban-trees-naip" / record.images[0]
    assert taken.read_bytes() == (folder / "images_rgb/chico_2018_0.jpg").read_bytes()

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from shapely.geometry import Polygon

from rsvlm_cli.errors import InputError, OutputExists
from rsvlm_cli.geo.raster import open_raster
from rsvlm_cli.geo.write import polygonise_mask, replaced_file, write_mask
from rsvlm_cli.results import Mask, Source
from tests.factories import UTM33, draw_scene, write_geotiff

CELLS = np.array([[0, 1, 1], [2, 255, 1]], np.uint8)
MASK = Mask(labels=("building", "water"), cells=CELLS, area_px=(30.0, 10.0, 90.0, 50.0))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    with open_raster(write_geotiff(tmp_path / "scene.tif", draw_scene((120, 100)))) as raster:
        return raster.read().source


def test_a_mask_lies_where_its_cells_lie(tmp_path: Path, source: Source) -> None:
    write_mask(tmp_path / "mask.tif", MASK, source)
    with rasterio.open(tmp_path / "mask.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), CELLS)
        assert dataset.crs.to_string() == UTM33
        assert tuple(dataset.bounds) == (500_030, 4_999_950, 500_090, 4_999_990)
        assert dataset.nodata == 255
        assert dataset.profile["tiled"]
        assert dataset.profile["compress"] == "deflate"


def test_a_mask_on_the_pixel_grid_repeats_its_cells(tmp_path: Path, source: Source) -> None:
    write_mask(tmp_path / "mask.tif", MASK, source, grid="pixels")
    expected = np.full((100, 120), 255, np.uint8)
    expected[10:50, 30:90] = CELLS.repeat(20, axis=0).repeat(20, axis=1)
    with rasterio.open(tmp_path / "mask.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
        assert tuple(dataset.transform)[:6] == source.transform


def test_a_mask_says_its_classes_colours_and_origin(tmp_path: Path, source: Source) -> None:
    write_mask(tmp_path / "mask.tif", MASK, source, provenance={"model": "nano"})
    with rasterio.open(tmp_path / "mask.tif") as dataset:
        tags = dataset.tags()
        colours = dataset.colormap(1)
    assert (tags["RSVLM_CLASS_1"], tags["RSVLM_CLASS_2"], tags["RSVLM_MODEL"]) == ("building", "water", "nano")
    assert (tags["RSVLM_SOURCE"], tags["RSVLM_AREA_PX"]) == ("scene.tif", "30,10,90,50")
    assert len({colours[k][:3] for k in (0, 1, 2)}) == 3


def test_a_large_mask_is_a_cog_whose_overviews_keep_the_most_common_class(tmp_path: Path, source: Source) -> None:
    cells = np.zeros((1100, 1300), np.uint8)
    cells[:, 650:] = 1
    cells[::2, ::2] = 2  # a quarter of each 2 x 2
    cells[:64] = 255
    write_mask(tmp_path / "mask.tif", replace(MASK, cells=cells), source)
    with rasterio.open(tmp_path / "mask.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1) == [2, 4]
        np.testing.assert_array_equal(dataset.read(1), cells)
        half = dataset.read(1, out_shape=(550, 650))
    assert (half[:32] == 255).all()
    assert (half[32:, :325] == 0).all()
    assert (half[32:, 325:] == 1).all()


def test_gdal_reads_the_names_of_the_values(tmp_path: Path, source: Source) -> None:
    write_mask(tmp_path / "mask.tif", replace(MASK, labels=('mud & "reed"', "a\x1b<b>")), source)
    # Rasterio shows no category names; GDAL writes those that it has read into a VRT.
    rasterio.shutil.copy(tmp_path / "mask.tif", tmp_path / "mask.vrt", driver="VRT")
    names = ElementTree.parse(tmp_path / "mask.vrt").findall("./VRTRasterBand/CategoryNames/Category")
    assert [name.text for name in names] == ["background", 'mud & "reed"', "a<b>"]


def test_a_mask_of_a_rotated_raster_is_rotated_with_it(tmp_path: Path, source: Source) -> None:
    rotated = replace(source, transform=(1.2, 1.6, 500_000.0, 1.6, -1.2, 5_000_000.0))
    write_mask(tmp_path / "mask.tif", MASK, rotated)
    with rasterio.open(tmp_path / "mask.tif") as dataset:
        x, y = dataset.xy(1, 2)  # centre of the last cell: pixel 80, 40
    assert (x, y) == pytest.approx((500_000 + 1.2 * 80 + 1.6 * 40, 5_000_000 + 1.6 * 80 - 1.2 * 40))


def test_a_mask_without_georeference_is_written_without_one(tmp_path: Path, source: Source) -> None:
    write_mask(tmp_path / "mask.tif", MASK, replace(source, crs=None, transform=None))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        dataset = rasterio.open(tmp_path / "mask.tif")
    with dataset:
        assert dataset.crs is None
        np.testing.assert_array_equal(dataset.read(1), CELLS)


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path, source: Source) -> None:
    target = tmp_path / "mask.tif"
    target.write_text("mine")
    with pytest.raises(OutputExists, match="--overwrite"):
        write_mask(target, MASK, source)
    assert target.read_text() == "mine"
    write_mask(target, MASK, source, overwrite=True)
    with rasterio.open(target) as dataset:
        assert dataset.count == 1


def test_a_failure_leaves_the_old_file_and_no_remains(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")

    def write_half() -> None:
        with replaced_file(target, overwrite=True) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert target.read_text() == "old"


def test_a_missing_folder_is_one_line(tmp_path: Path, source: Source) -> None:
    with pytest.raises(InputError, match="its folder does not exist"):
        write_mask(tmp_path / "no" / "mask.tif", MASK, source)


def test_patches_become_polygons_along_the_cells(source: Source) -> None:
    polygons = polygonise_mask(MASK)
    assert [polygon.label for polygon in polygons] == ["building", "water"]
    areas = [Polygon(polygon.rings_px[0], polygon.rings_px[1:]).area for polygon in polygons]
    assert areas == [3 * 400, 400]
    assert Polygon(polygons[0].rings_px[0]).bounds == (50, 10, 90, 50)


def test_a_hole_stays_a_hole_and_touching_corners_stay_apart() -> None:
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    [polygon] = polygonise_mask(Mask(labels=("road",), cells=ring, area_px=(0, 0, 3, 3)))
    assert len(polygon.rings_px) == 2
    assert Polygon(polygon.rings_px[0], polygon.rings_px[1:]).area == 8
    assert len(polygonise_mask(Mask(labels=("road",), cells=np.eye(3, dtype=np.uint8), area_px=(0, 0, 3, 3)))) == 3


def test_values_that_are_no_class_give_no_polygon() -> None:
    cells = np.array([[0, 255, 3]], np.uint8)
    assert polygonise_mask(Mask(labels=("road",), cells=cells, area_px=(0, 0, 3, 1))) == []

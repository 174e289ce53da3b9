from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from rsvlm_cli.geo.raster import open_raster
from tests.factories import UTM33, write_geotiff

PIXELS = np.zeros((1, 100, 200), np.uint8)


def opened(path: Path):
    with open_raster(path) as raster:
        return raster


def gcp_file(path: Path, bend: float) -> Path:
    corners = [(0, 0), (0, 200), (100, 0), (100, 200), (50, 100)]
    gcps = [
        GroundControlPoint(row, col, 500_000 + 2 * col + 1 * row + bend * (row == 50), 5_000_000 + 0.5 * col - 3 * row)
        for row, col in corners
    ]
    keys = {"driver": "GTiff", "width": 200, "height": 100, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **keys, gcps=gcps, crs=UTM33) as dataset:
        dataset.write(PIXELS)
    return path


@pytest.mark.parametrize(
    ("crs", "size", "gsd_m"),
    [
        ("EPSG:32633", 0.1, 0.1),
        ("EPSG:2263", 1.0, 0.3048006096),
        ("EPSG:3857", 10.0, 10.0 * (0.50127 * 0.50042) ** 0.5),
    ],
)
def test_ground_size_is_in_metres_whatever_the_unit(tmp_path: Path, crs: str, size: float, gsd_m: float) -> None:
    y = (
        8_399_737.9 if crs == "EPSG:3857" else 200_000.0
    )  # 60 degrees north, where a degree is 55,800 m east and 111,412 m north
    path = write_geotiff(tmp_path / "a.tif", PIXELS, crs=crs, transform=Affine(size, 0, 1_000_000, 0, -size, y))
    assert opened(path).gsd_m == pytest.approx(gsd_m, rel=1e-3)


def test_ground_size_of_degrees_is_taken_at_the_centre(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", PIXELS, crs="EPSG:4326", transform=Affine(0.001, 0, 10, 0, -0.001, 60.05))
    # At 60 degrees on WGS 84 a degree is 55,800 m east and 111,412 m north.
    assert opened(path).gsd_m == pytest.approx((55.800 * 111.412) ** 0.5, rel=1e-4)


def test_ground_size_of_a_rotated_raster_is_that_of_its_columns(tmp_path: Path) -> None:
    transform = Affine(1.2, 1.6, 500_000, 1.6, -1.2, 5_000_000)
    assert opened(write_geotiff(tmp_path / "a.tif", PIXELS, transform=transform)).gsd_m == pytest.approx(2.0)


def test_a_raster_without_georeference_has_none_and_no_warning_of_a_library(tmp_path: Path, recwarn) -> None:
    path = tmp_path / "a.png"
    with rasterio.Env(), pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_geotiff(path.with_suffix(".tif"), PIXELS, crs=None, transform=None)
    raster = opened(path.with_suffix(".tif"))
    assert (raster.crs, raster.transform, raster.gsd_m) == (None, None, None)
    assert "has no georeference; results are in pixels" in raster.warnings[-1]
    assert not recwarn.list


def test_a_transform_without_crs_is_no_georeference(tmp_path: Path) -> None:
    raster = opened(write_geotiff(tmp_path / "a.tif", PIXELS, crs=None))
    assert (raster.crs, raster.transform) == (None, None)
    assert "has a transform but no CRS" in raster.warnings[-1]


def test_control_points_that_fit_a_transform_give_it(tmp_path: Path) -> None:
    raster = opened(gcp_file(tmp_path / "a.tif", bend=0.2))
    assert raster.crs == "EPSG:32633"
    assert raster.transform == pytest.approx((2, 1, 500_000, 0.5, -3, 5_000_000), abs=0.1)
    assert not raster.warnings


def test_control_points_that_fit_no_transform_take_a_view_on_a_map_grid(tmp_path: Path) -> None:
    raster = opened(gcp_file(tmp_path / "a.tif", bend=40))
    assert raster.crs == "EPSG:32633"
    assert "placed by 5 ground control points" in raster.warnings[-1]


def test_control_points_in_one_line_give_no_place(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    gcps = [GroundControlPoint(k, k, 500_000 + k, 5_000_000 - k) for k in (0, 50, 100)]
    keys = {"driver": "GTiff", "width": 200, "height": 100, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **keys, gcps=gcps, crs=UTM33) as dataset:
        dataset.write(PIXELS)
    raster = opened(path)
    assert (raster.crs, raster.transform) == (None, None)
    assert "3 ground control points that give no place" in raster.warnings[-1]


def test_a_local_coordinate_system_keeps_its_transform_and_unit(tmp_path: Path) -> None:
    wkt = 'LOCAL_CS["Site grid",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    raster = opened(write_geotiff(tmp_path / "a.tif", PIXELS, crs=wkt, transform=Affine(3, 0, 10, 0, -3, 20)))
    assert raster.crs is not None
    assert raster.crs.startswith("LOCAL_CS")
    assert raster.transform == (3, 0, 10, 0, -3, 20)
    assert "no known place on Earth" in raster.warnings[-1]

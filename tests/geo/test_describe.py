import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from rsvlm_cli.geo.describe import describe_raster
from tests.factories import UTM33, draw_scene, write_geotiff


def test_a_description_agrees_with_rasterio(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", draw_scene((300, 200)), nodata=0, compress="lzw", tiled=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(TIFFTAG_DATETIME="2020:05:01 10:00:00")
        dataset.build_overviews([2])
    said = describe_raster(path)
    assert said["path"] == str(path)
    assert (said["driver"], said["width_px"], said["height_px"], said["dtype"]) == ("GTiff", 300, 200, "uint8")
    assert (said["crs"], said["gsd_m"], said["nodata"], said["mask"]) == (UTM33, 1.0, 0.0, "nodata")
    assert (said["overviews"], said["tiled"], said["compression"]) == ([2], True, "LZW")
    assert said["bands"][2] == {"index": 3, "name": None, "colour": "blue"}
    assert said["dates"] == {"TIFFTAG_DATETIME": "2020:05:01 10:00:00"}
    assert said["bounds_crs"] == [500_000, 4_999_800, 500_300, 5_000_000]
    expected = transform_bounds(UTM33, "EPSG:4326", *said["bounds_crs"])
    assert said["bounds_lonlat"] == pytest.approx(expected, abs=1e-9)


def test_a_description_is_json_even_of_odd_values(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", np.full((1, 4, 4), np.nan, np.float32), nodata=np.nan)
    said = json.loads(json.dumps(describe_raster(path), allow_nan=False))
    assert said["nodata"] == "nan"
    assert said["stretch"] == "no valid pixels"


def test_the_outline_is_followed_not_two_corners(tmp_path: Path) -> None:
    transform = Affine(4000.0, 0, 2_600_000, 0, -4000.0, 5_400_000)
    path = write_geotiff(tmp_path / "a.tif", np.zeros((1, 900, 900), np.uint8), crs="EPSG:3035", transform=transform)
    said = describe_raster(path)
    expected = transform_bounds("EPSG:3035", "EPSG:4326", *said["bounds_crs"], densify_pts=100)
    assert said["bounds_lonlat"] == pytest.approx(expected, abs=0.02)

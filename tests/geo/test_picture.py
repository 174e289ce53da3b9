import numpy as np
import pytest
import rasterio

from rsvlm_cli.errors import OutputExists
from rsvlm_cli.geo.picture import gdal_version, write_picture


def test_a_picture_is_written_with_its_place_and_read_back_to_the_byte(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    transform = (0.5, 0.1, 500_000.0, 0.1, -0.5, 9_000_000.0)
    write_picture(tmp_path / "a.tif", pixels, "EPSG:32736", transform)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(np.moveaxis(dataset.read(), 0, -1), pixels)
        assert dataset.crs.to_string() == "EPSG:32736"
        assert tuple(dataset.transform)[:6] == transform
        assert [band.name for band in dataset.colorinterp] == ["red", "green", "blue"]
    with pytest.raises(OutputExists):
        write_picture(tmp_path / "a.tif", pixels, "EPSG:32736", transform)


def test_the_version_is_that_of_the_gdal_that_writes():
    assert gdal_version() == rasterio.__gdal_version__

"""Rasters of every kind and broken ones, where the reference data lies beside the checkout."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.raster import open_raster
from tests.factories import draw_scene, write_geotiff
from tests.geo.sweep import sweep

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ZOO = DATA / "geotiff-zoo"
ERRORS_OF_OURS = {"result", "RasterUnreadable", "BandsMissing"}

needs_data = pytest.mark.skipif(not ZOO.is_dir(), reason="the reference data is not beside the checkout")


def rasters(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".tif", ".tiff"))


def check(paths: list[Path]) -> None:
    outcomes = list(sweep(paths))
    assert len(outcomes) == len(paths)
    assert [outcome for outcome in outcomes if outcome.kind not in ERRORS_OF_OURS] == []


def test_the_sweep_tells_results_from_faults(tmp_path: Path) -> None:
    good = write_geotiff(tmp_path / "good.tif", draw_scene((40, 30)))
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0")
    assert [outcome.kind for outcome in sweep([good, bad, good])] == ["result", "RasterUnreadable", "result"]


@needs_data
def test_every_tenth_raster_of_the_zoo_gives_a_result_or_one_error_of_ours() -> None:
    check(rasters(ZOO)[::10] + rasters(ZOO / "broken")[::5])


@needs_data
@pytest.mark.slow
def test_every_raster_of_the_zoo_gives_a_result_or_one_error_of_ours() -> None:
    check(rasters(ZOO) + rasters(ZOO / "broken"))


@needs_data
@pytest.mark.parametrize(
    "name",
    ["naip-timeseries/m_4709963_se_14_1_20090818.tif", "neon-trees/images/SJER_002.tif", "landsat-timeseries/1985.tif"],
)
def test_real_scenes_lie_where_rasterio_says(name: str) -> None:
    path = DATA / "core" / name
    with open_raster(path) as raster:
        centre = Georeference.of(raster).px_to_lonlat(np.array([[raster.width_px / 2, raster.height_px / 2]]))[0]
        pixels = raster.read((100, 100, 164, 164)).pixels
    with rasterio.open(path) as dataset:
        lon, lat = dataset.lnglat()
        window = ((100, 164), (100, 164))
        expected, valid = dataset.read([1, 2, 3], window=window), dataset.read_masks([1, 2, 3], window=window).any(0)
    np.testing.assert_allclose(centre, (lon, lat), atol=1e-6)
    np.testing.assert_array_equal(np.moveaxis(pixels, -1, 0)[:, valid], expected[:, valid])

from pathlib import Path

import numpy as np
import pytest
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject

from rsvlm_cli.errors import NotGeoreferenced, RastersDoNotOverlap
from rsvlm_cli.geo.align import open_pair
from rsvlm_cli.geo.stretch import MID_TONE
from tests.factories import ONE_METRE, UTM33, draw_scene, write_geotiff

SCENE = draw_scene((120, 100), buildings=3)
SHIFTED = Affine(1.0, 0.0, 500_020.0, 0.0, -1.0, 4_999_990.0)
"""20 px to the right of `ONE_METRE` and 10 px down."""


def bare(path: Path, pixels: np.ndarray) -> Path:
    with pytest.warns(Warning, match="geotransform"):
        return write_geotiff(path, pixels, crs=None, transform=None)


def test_one_grid_is_read_without_resampling(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE[:, ::-1])
    with open_pair(a, b) as pair:
        assert pair.overlap_px == (0, 0, 120, 100)
        assert pair.warnings == ()
        np.testing.assert_array_equal(pair.b.read().pixels, np.moveaxis(SCENE[:, ::-1], 0, -1))


def test_a_shifted_date_lands_on_the_ground_of_the_first(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE[:, 10:90, 20:100], transform=SHIFTED)
    with open_pair(a, b) as pair:
        assert pair.overlap_px == (20, 10, 100, 90)
        first, second = (raster.read(pair.overlap_px) for raster in (pair.a, pair.b))
        np.testing.assert_array_equal(first.pixels, second.pixels)
        assert second.valid.all()
        assert second.source.window_px == first.source.window_px
        assert second.source.transform == first.source.transform
        whole = pair.b.read()
    assert whole.valid.sum() == 80 * 80
    assert (whole.pixels[~whole.valid] == MID_TONE).all()


def test_nodata_of_the_second_date_stays_no_data(tmp_path: Path) -> None:
    later = SCENE[:, 10:90, 20:100].copy()
    later[:, :40] = 0
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", later, transform=SHIFTED, nodata=0)
    with open_pair(a, b) as pair:
        chip = pair.b.read(pair.overlap_px)
    np.testing.assert_array_equal(chip.valid, later.any(axis=0))


def test_another_projection_is_warped_as_gdal_warps_it(tmp_path: Path) -> None:
    there = Affine(1.4e-5, 0, 14.9995, 0, -1.0e-5, 45.1539)
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", draw_scene((300, 300), buildings=5), crs="EPSG:4326", transform=there)
    expected = np.zeros((3, 100, 120), np.uint8)
    reproject(draw_scene((300, 300), buildings=5), expected, src_crs="EPSG:4326", src_transform=there, dst_crs=UTM33,
              dst_transform=ONE_METRE, resampling=Resampling.bilinear)  # fmt: skip
    with open_pair(a, b) as pair:
        chip = pair.b.read()
        x1, y1, x2, y2 = pair.overlap_px
    assert chip.valid.any()
    difference = np.abs(np.moveaxis(chip.pixels, -1, 0).astype(int) - expected)[:, chip.valid]
    assert np.percentile(difference, 99) <= 2  # GDAL approximates the transform to an eighth of a pixel
    rows, columns = np.nonzero(chip.valid)
    assert x1 <= columns.min() <= columns.max() < x2
    assert y1 <= rows.min() <= rows.max() < y2


def test_dates_without_common_ground_are_refused_with_where_they_lie(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE, transform=Affine(1, 0, 600_000, 0, -1, 5_000_000))
    with (
        pytest.raises(RastersDoNotOverlap, match=r"share no ground .*longitude 15\.0.*longitude 16\.2"),
        open_pair(a, b),
    ):
        pass


def test_neighbours_that_share_only_an_edge_do_not_overlap(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE, transform=Affine(1, 0, 500_120, 0, -1, 5_000_000))
    with pytest.raises(RastersDoNotOverlap), open_pair(a, b):
        pass


def test_without_georeference_equal_sizes_are_compared_pixel_by_pixel_with_a_warning(tmp_path: Path) -> None:
    a, b = bare(tmp_path / "a.tif", SCENE), bare(tmp_path / "b.tif", SCENE)
    with open_pair(a, b) as pair:
        assert pair.overlap_px == (0, 0, 120, 100)
        assert any("pixel by pixel" in warning for warning in pair.warnings)


def test_without_georeference_other_sizes_are_refused(tmp_path: Path) -> None:
    a, b = write_geotiff(tmp_path / "a.tif", SCENE), bare(tmp_path / "b.tif", SCENE[:, :50])
    with pytest.raises(NotGeoreferenced, match=r"b\.tif: has no georeference.*120 x 100 px"), open_pair(a, b):
        pass


def test_a_much_coarser_date_is_warned_of(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE, transform=Affine(3, 0, 500_000, 0, -3, 5_000_000))
    with open_pair(a, b) as pair:
        assert any("pixels of 1 m" in warning and "of 3 m" in warning for warning in pair.warnings)


def test_both_dates_share_one_stretch_unless_told_otherwise(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE.astype(np.uint16) * 10)
    b = write_geotiff(tmp_path / "b.tif", SCENE.astype(np.uint16) * 20, transform=SHIFTED)
    with open_pair(a, b, stretch="minmax") as pair:
        assert pair.a.stretch == pair.b.stretch
        assert max(pair.a.stretch.high) == int(SCENE.max()) * 20
    with open_pair(a, b, stretch="minmax", shared_stretch=False) as pair:
        assert max(pair.a.stretch.high) == int(SCENE.max()) * 10
        assert max(pair.b.stretch.high) == int(SCENE.max()) * 20


def test_dates_of_different_type_are_stretched_alone_with_a_warning(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE.astype(np.uint16) * 20)
    with open_pair(a, b, bands="1,2,3") as pair:
        assert pair.a.stretch.text == "none (uint8)"
        assert pair.b.stretch.text.startswith("2-98 %")
        assert any("each has its own stretch" in warning for warning in pair.warnings)

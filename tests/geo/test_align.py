from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject

from rsvlm_cli.errors import NotGeoreferenced, RastersDoNotOverlap
from rsvlm_cli.geo.align import Comparison, open_dates
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
    with open_dates([a, b]) as dates:
        assert dates.overlap_px(0, 1) == (0, 0, 120, 100)
        assert dates.warnings == ()
        np.testing.assert_array_equal(dates.rasters[1].read().pixels, np.moveaxis(SCENE[:, ::-1], 0, -1))


def test_a_shifted_date_lands_on_the_ground_of_the_first(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE[:, 10:90, 20:100], transform=SHIFTED)
    with open_dates([a, b]) as dates:
        assert dates.overlap_px(0, 1) == (20, 10, 100, 90)
        first, second = (raster.read(dates.overlap_px(0, 1)) for raster in dates.rasters)
        np.testing.assert_array_equal(first.pixels, second.pixels)
        assert second.valid.all()
        assert second.source.window_px == first.source.window_px
        assert second.source.transform == first.source.transform
        whole = dates.rasters[1].read()
    assert whole.valid.sum() == 80 * 80
    assert (whole.pixels[~whole.valid] == MID_TONE).all()


def test_nodata_of_the_second_date_stays_no_data(tmp_path: Path) -> None:
    later = SCENE[:, 10:90, 20:100].copy()
    later[:, :40] = 0
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", later, transform=SHIFTED, nodata=0)
    with open_dates([a, b]) as dates:
        chip = dates.rasters[1].read(dates.overlap_px(0, 1))
    np.testing.assert_array_equal(chip.valid, later.any(axis=0))


def test_another_projection_is_warped_as_gdal_warps_it(tmp_path: Path) -> None:
    there = Affine(1.4e-5, 0, 14.9995, 0, -1.0e-5, 45.1539)
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", draw_scene((300, 300), buildings=5), crs="EPSG:4326", transform=there)
    expected = np.zeros((3, 100, 120), np.uint8)
    reproject(draw_scene((300, 300), buildings=5), expected, src_crs="EPSG:4326", src_transform=there, dst_crs=UTM33,
              dst_transform=ONE_METRE, resampling=Resampling.bilinear)  # fmt: skip
    with open_dates([a, b], Comparison(radiometry="none")) as dates:
        chip = dates.rasters[1].read()
        x1, y1, x2, y2 = dates.overlap_px(0, 1)
    assert chip.valid.any()
    difference = np.abs(np.moveaxis(chip.pixels, -1, 0).astype(int) - expected)[:, chip.valid]
    assert np.percentile(difference, 99) <= 2  # GDAL approximates the transform
    rows, columns = np.nonzero(chip.valid)
    assert x1 <= columns.min() <= columns.max() < x2
    assert y1 <= rows.min() <= rows.max() < y2


def test_dates_without_common_ground_are_refused_with_where_they_lie(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE, transform=Affine(1, 0, 600_000, 0, -1, 5_000_000))
    with (
        pytest.raises(RastersDoNotOverlap, match=r"share no ground .*longitude 15\.0.*longitude 16\.2"),
        open_dates([a, b]),
    ):
        pass


def test_neighbours_that_share_only_an_edge_do_not_overlap(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE, transform=Affine(1, 0, 500_120, 0, -1, 5_000_000))
    with pytest.raises(RastersDoNotOverlap), open_dates([a, b]):
        pass


def test_without_georeference_equal_sizes_are_compared_pixel_by_pixel_with_a_warning(tmp_path: Path) -> None:
    a, b = bare(tmp_path / "a.tif", SCENE), bare(tmp_path / "b.tif", SCENE)
    with open_dates([a, b]) as dates:
        assert dates.overlap_px(0, 1) == (0, 0, 120, 100)
        assert any("pixel by pixel" in warning for warning in dates.warnings)


def test_without_georeference_other_sizes_are_refused(tmp_path: Path) -> None:
    a, b = write_geotiff(tmp_path / "a.tif", SCENE), bare(tmp_path / "b.tif", SCENE[:, :50])
    with pytest.raises(NotGeoreferenced, match=r"b\.tif: has no georeference.*120 x 100 px"), open_dates([a, b]):
        pass


def test_a_much_coarser_date_is_warned_of(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE, transform=Affine(3, 0, 500_000, 0, -3, 5_000_000))
    with open_dates([a, b]) as dates:
        assert any("pixels of 1 m" in warning and "of 3 m" in warning for warning in dates.warnings)


def test_dates_of_one_type_share_one_stretch(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE.astype(np.uint16) * 10)
    b = write_geotiff(tmp_path / "b.tif", SCENE.astype(np.uint16) * 20, transform=SHIFTED)
    with open_dates([a, b], Comparison(stretch="minmax", radiometry="none")) as dates:
        assert dates.rasters[0].stretch == dates.rasters[1].stretch
        assert max(dates.rasters[0].stretch.high) == int(SCENE.max()) * 20


def test_dates_of_different_type_are_stretched_alone_with_a_warning(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE.astype(np.uint16) * 20)
    with open_dates([a, b], Comparison(bands="1,2,3", radiometry="none")) as dates:
        assert dates.rasters[0].stretch.text == "none (uint8)"
        assert dates.rasters[1].stretch.text.startswith("2-98 %")
        assert any("each has its own stretch" in warning for warning in dates.warnings)


def textured(size: int = 400) -> np.ndarray:
    """Smooth noise as a picture, ``(1, size, size)`` uint8."""
    small = np.random.default_rng(0).normal(0, 40, (size // 4, size // 4)).astype(np.float32)
    large = np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))
    return (large + 128).clip(0, 255).round().astype(np.uint8)[None]


def test_a_shift_is_said_and_undone_where_that_is_asked(tmp_path: Path) -> None:
    scene = textured()
    a = write_geotiff(tmp_path / "a.tif", scene[:, 50:350, 50:350])
    b = write_geotiff(tmp_path / "b.tif", scene[:, 46:346, 53:353])  # its ground lies 3 px left of and 4 px below A's
    with open_dates([a, b]) as dates:
        alignment = dates.rasters[1].alignment
        assert any("lies 5.0 px (5 m) from" in warning and "--coregister" in warning for warning in dates.warnings)
        assert (dates.rasters[1].read().pixels[..., 0] == scene[0, 46:346, 53:353]).all()
    assert alignment is not None
    assert alignment.shift_px == pytest.approx((-3, 4), abs=0.05)
    assert alignment.shift_m == pytest.approx(5, abs=0.05)
    assert (alignment.overlap_frac, alignment.gsd_ratio, alignment.applied) == (1.0, 1.0, None)
    with open_dates([a, b], Comparison(coregister=True)) as dates:
        assert any("lay 5.0 px (5 m) from" in warning and "moved onto it" in warning for warning in dates.warnings)
        one, two = (raster.read() for raster in dates.rasters)
    assert two.source.alignment is not None
    assert two.source.alignment.applied is not None
    assert two.valid[:290, 10:].all()
    assert np.abs(one.pixels.astype(int) - two.pixels)[two.valid].mean() < 1
    with open_dates([a, b], Comparison(known=(None, two.source.alignment))) as dates:
        np.testing.assert_array_equal(dates.rasters[1].read().pixels, two.pixels)
        assert dates.warnings == ()


def test_a_shift_without_georeference_is_undone_too(tmp_path: Path) -> None:
    scene = textured()
    a, b = bare(tmp_path / "a.tif", scene[:, 50:350, 50:350]), bare(tmp_path / "b.tif", scene[:, 46:346, 53:353])
    with open_dates([a, b], Comparison(coregister=True)) as dates:
        one, two = (raster.read() for raster in dates.rasters)
    assert np.abs(one.pixels.astype(int) - two.pixels)[two.valid].mean() < 1
    assert 0.95 < two.valid.mean() < 1
    assert two.source.alignment is not None
    assert two.source.alignment.shift_m is None


def test_what_cannot_be_measured_is_left_where_it_lies_and_that_is_said(tmp_path: Path) -> None:
    a, b = write_geotiff(tmp_path / "a.tif", SCENE), write_geotiff(tmp_path / "b.tif", SCENE[:, ::-1] * 0 + 9)
    with open_dates([a, b], Comparison(coregister=True)) as dates:
        assert any("cannot be measured; left where it lies" in warning for warning in dates.warnings)
        assert dates.rasters[1].alignment is not None
        assert dates.rasters[1].alignment.applied is None


def test_a_date_that_covers_little_is_warned_of(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE[:, :20, :30], transform=SHIFTED)
    with open_dates([a, b]) as dates:
        assert any("covers only 5.0% of" in warning for warning in dates.warnings)
        assert dates.rasters[1].alignment is not None
        assert dates.rasters[1].alignment.overlap_frac == pytest.approx(0.05, abs=0.01)


def test_dates_that_meet_the_first_but_not_each_other_are_refused(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE[:, :, :40])
    c = write_geotiff(tmp_path / "c.tif", SCENE[:, :, :40], transform=Affine(1, 0, 500_080, 0, -1, 5_000_000))
    with open_dates([a, b, c]) as dates:
        assert dates.overlap_px(0, 2) == (80, 0, 120, 100)
        with pytest.raises(RastersDoNotOverlap, match="share no ground on"):
            dates.overlap_px(1, 2)

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, Resampling

from rsvlm_cli.errors import RasterUnreadable, UsageError, WindowOutside
from rsvlm_cli.geo import raster as raster_module
from rsvlm_cli.geo.raster import open_raster, with_model_px
from rsvlm_cli.geo.stretch import MID_TONE
from tests.factories import ONE_METRE, UTM33, draw_scene, write_geotiff

GREY = (ColorInterp.gray,)


def gradient(n_bands: int = 3, height: int = 60, width: int = 80, dtype: str = "uint8") -> np.ndarray:
    """Values that say where they come from: 100 times the band, plus column, plus row / 10."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(60 * band + x + y // 10) for band in range(n_bands)]).astype(dtype)


def test_a_window_holds_the_pixels_of_its_place(tmp_path: Path) -> None:
    pixels = gradient()
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels)) as raster:
        chip = raster.read((10, 20, 50, 40))
    np.testing.assert_array_equal(chip.pixels, np.moveaxis(pixels[:, 20:40, 10:50], 0, -1))
    assert chip.valid.all()
    assert chip.source.window_px == (10, 20, 50, 40)
    assert (chip.source.width_px, chip.source.height_px, chip.source.model_px) == (80, 60, (40, 20))
    assert (chip.source.crs, chip.source.transform) == (UTM33, tuple(ONE_METRE)[:6])
    assert (chip.source.gsd_m, chip.source.model_gsd_m, chip.source.valid_frac) == (1.0, 1.0, 1.0)
    assert chip.source.stretch == "none (uint8)"


def test_shrinking_averages_and_says_the_coarser_ground_size(tmp_path: Path) -> None:
    pixels = gradient()
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels)) as raster:
        chip = raster.read(None, (20, 15))
    blocks = pixels.astype(float).reshape(3, 15, 4, 20, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(chip.pixels, np.moveaxis(blocks, 0, -1), atol=0.51)
    assert chip.source.model_gsd_m == pytest.approx(4.0)
    assert with_model_px(chip.source, (40, 30)).model_gsd_m == pytest.approx(2.0)


def test_a_window_is_widened_to_whole_pixels_and_cut_at_the_edge(tmp_path: Path) -> None:
    with open_raster(write_geotiff(tmp_path / "a.tif", gradient())) as raster:
        assert raster.read((10.4, 20.6, 49.2, 39.9)).source.window_px == (10, 20, 50, 40)
        assert raster.read((-5, -5, 200, 10)).source.window_px == (0, 0, 80, 10)


@pytest.mark.parametrize("window", [(80, 0, 90, 10), (-10, 0, 0, 10), (30, 30, 30, 40), (float("nan"), 0, 1, 1)])
def test_a_window_without_a_pixel_is_refused(tmp_path: Path, window: tuple) -> None:
    with open_raster(write_geotiff(tmp_path / "a.tif", gradient())) as raster, pytest.raises(WindowOutside):
        raster.read(window)


def test_a_picture_without_a_pixel_is_refused(tmp_path: Path) -> None:
    with open_raster(write_geotiff(tmp_path / "a.tif", gradient())) as raster, pytest.raises(UsageError):
        raster.read(None, (0, 5))


def test_a_read_without_a_wanted_size_has_a_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster_module, "MAX_SIDE_PX", 40)
    with open_raster(write_geotiff(tmp_path / "a.tif", gradient())) as raster:
        assert raster.read().pixels.shape == (30, 40, 3)


def test_overviews_are_used(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", gradient(height=64, width=64), tiled=True, blockxsize=16, blockysize=16)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.nearest)
    with rasterio.open(path, "r+", overview_level=1) as overview:
        overview.write(np.full((3, 16, 16), 7, np.uint8))
    with open_raster(path) as raster:
        assert (raster.read(None, (16, 16)).pixels == 7).all()
        assert (raster.read((0, 0, 16, 16)).pixels[..., 2] >= 120).all()


def test_nodata_is_invisible_to_the_stretch_and_shown_as_the_mid_tone(tmp_path: Path) -> None:
    pixels = gradient(3, dtype="uint16") + 1000
    pixels[:, :, :40] = 0
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels, nodata=0)) as raster:
        chip = raster.read()
    assert min(raster.stretch.low) >= 1000
    np.testing.assert_array_equal(chip.valid, np.arange(80)[None].repeat(60, 0) >= 40)
    assert (chip.pixels[:, :40] == MID_TONE).all()
    assert chip.source.valid_frac == 0.5
    assert chip.pixels[:, 40:].min() == 0
    assert chip.pixels[:, 40:].max() == 255


def test_averages_leave_nodata_out(tmp_path: Path) -> None:
    pixels = np.full((1, 8, 8), 100, np.uint8)
    pixels[0, ::2] = 0
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels, nodata=0)) as raster:
        chip = raster.read(None, (4, 4))
    assert chip.valid.all()
    assert (chip.pixels == 100).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_data(tmp_path: Path, bad: float) -> None:
    pixels = gradient(1, dtype="float32")
    pixels[0, 5, 5] = bad
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels)) as raster:
        chip = raster.read()
    assert np.argwhere(~chip.valid).tolist() == [[5, 5]]
    assert (chip.pixels[5, 5] == MID_TONE).all()
    assert np.isfinite(raster.stretch.high).all()


@pytest.mark.parametrize("opaque", [255, 1])
def test_an_alpha_band_is_the_mask(tmp_path: Path, opaque: int) -> None:
    pixels = gradient(4)
    pixels[3] = np.where(np.arange(80) < 20, 0, opaque)
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels, colours=colours)) as raster:
        chip = raster.read()
    assert raster.bands.indexes == (1, 2, 3)
    assert chip.valid.sum(axis=1).tolist() == [60] * 60


def test_all_windows_share_one_stretch(tmp_path: Path) -> None:
    pixels = gradient(1, dtype="uint16") * 10
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels), stretch="minmax") as raster:
        whole, part = raster.read().pixels, raster.read((30, 10, 50, 30)).pixels
    np.testing.assert_array_equal(whole[10:30, 30:50], part)
    assert raster.stretch.text == "minimum to maximum of valid pixels: 0..840"


def test_a_raster_without_a_valid_pixel_is_said_and_shown_flat(tmp_path: Path) -> None:
    with open_raster(write_geotiff(tmp_path / "a.tif", np.zeros((1, 5, 5), np.int16), nodata=0)) as raster:
        chip = raster.read()
    assert any("no valid pixel" in warning for warning in raster.warnings)
    assert (chip.source.valid_frac, chip.source.stretch) == (0.0, "no valid pixels")
    assert (chip.pixels == MID_TONE).all()


def test_a_palette_is_expanded_through_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    cells = np.array([[[0, 1], [2, 1]]], np.uint8)
    with rasterio.open(path, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8", crs=UTM33,
                       transform=ONE_METRE) as target:  # fmt: skip
        target.write(cells)
        target.write_colormap(1, {0: (10, 20, 30, 255), 1: (200, 0, 5, 255), 2: (1, 2, 3, 255)})
    with open_raster(path) as raster:
        pixels = raster.read().pixels
    assert pixels.tolist() == [[[10, 20, 30], [200, 0, 5]], [[1, 2, 3], [200, 0, 5]]]
    assert raster.bands.labels == ("1 (palette)",)


def test_ink_is_turned_into_light(tmp_path: Path) -> None:
    pixels = np.zeros((4, 1, 3), np.uint8)
    pixels[:, 0, 0] = (255, 0, 0, 0)  # cyan
    pixels[:, 0, 1] = (0, 0, 0, 255)  # black
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels, photometric="CMYK")) as raster:
        assert raster.read().pixels.tolist() == [[[0, 255, 255], [0, 0, 0], [255, 255, 255]]]


def test_one_band_is_grey(tmp_path: Path) -> None:
    with open_raster(write_geotiff(tmp_path / "a.tif", gradient(1))) as raster:
        pixels = raster.read().pixels
    assert (pixels == pixels[..., :1]).all()
    assert raster.bands.labels == ("1 (grey)",)


def test_bands_that_were_asked_for_are_the_ones_read(tmp_path: Path) -> None:
    pixels = gradient(4)
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels), bands="4,1,2") as raster:
        np.testing.assert_array_equal(raster.read().pixels, np.moveaxis(pixels[[3, 0, 1]], 0, -1))
        assert raster.read().source.bands_by == "asked"


def test_reading_in_strips_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_geotiff(tmp_path / "a.tif", draw_scene((300, 330), buildings=8), nodata=0)
    with open_raster(path) as raster:
        at_once = raster.read(None, (100, 77))
        monkeypatch.setattr(raster_module, "STRIP_BYTES", 50_000)
        in_strips = raster.read(None, (100, 77))
    assert np.abs(in_strips.pixels.astype(int) - at_once.pixels).max() <= 1
    np.testing.assert_array_equal(in_strips.valid, at_once.valid)


def test_a_large_raster_is_sampled_by_windows_with_the_same_percentiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = draw_scene((400, 500), buildings=8).astype(np.uint16) * 20
    monkeypatch.setattr(raster_module, "SLOW_PIXELS", 100_000)
    monkeypatch.setattr(raster_module, "SAMPLE_SIDE_PX", 256)
    with open_raster(write_geotiff(tmp_path / "a.tif", scene), bands="1,2,3") as raster:
        assert any("without overviews" in warning for warning in raster.warnings)
    np.testing.assert_allclose(raster.stretch.high, np.percentile(scene, 98, axis=(1, 2)), rtol=0.05)
    np.testing.assert_allclose(raster.stretch.low, np.percentile(scene, 2, axis=(1, 2)), rtol=0.05)


def test_a_large_raster_with_data_in_a_corner_alone_is_still_stretched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = np.zeros((1, 400, 500), np.uint16)
    scene[0, 33:36, 33:36] = 500
    monkeypatch.setattr(raster_module, "SLOW_PIXELS", 100_000)
    monkeypatch.setattr(raster_module, "SAMPLE_SIDE_PX", 256)
    with open_raster(write_geotiff(tmp_path / "a.tif", scene, nodata=0)) as raster:
        assert raster.stretch.high == (500,)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RasterUnreadable, match=r"nowhere\.tif: no such file$"), open_raster(tmp_path / "nowhere.tif"):
        pass

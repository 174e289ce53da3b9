from pathlib import Path

import numpy as np
import pytest

from rsvlm_cli.geo.align import Comparison, open_dates
from rsvlm_cli.geo.radiometry import fit_linear
from tests.factories import draw_scene, write_geotiff

SCENE = draw_scene((300, 240), buildings=6)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
def test_changed_ground_does_not_bend_the_law(share: float) -> None:
    rng = np.random.default_rng(0)
    b = rng.gamma(3, 25, 20_000)
    a = np.where(rng.random(b.size) < share, rng.normal(200, 10, b.size), 1.4 * b - 20 + rng.normal(0, 4, b.size))
    assert fit_linear(a, b) == pytest.approx((1.4, -20), rel=0.03)


def test_what_has_nothing_in_common_has_no_law() -> None:
    rng = np.random.default_rng(0)
    assert fit_linear(rng.normal(0, 1, 5000), rng.normal(0, 1, 5000)) is None
    assert fit_linear(np.full(5000, 7.0), rng.normal(0, 1, 5000)) is None


def dim(scene: np.ndarray) -> np.ndarray:
    return (scene * np.array([0.7, 0.8, 0.6])[:, None, None] + 25).round().astype(np.uint8)


def test_a_later_date_is_brought_to_the_light_of_the_first_and_that_is_said(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", dim(draw_scene((300, 240), buildings=9)))
    with open_dates([a, b]) as dates:
        one, two = (raster.read() for raster in dates.rasters)
    same = (np.abs(SCENE.astype(int) - draw_scene((300, 240), buildings=9)) == 0).all(axis=0)
    difference = np.abs(one.pixels.astype(int) - two.pixels)[same]
    assert np.percentile(difference, 99) <= 3
    assert two.source.alignment is not None
    assert two.source.alignment.radiometry.startswith("robust linear, of grey levels: 1 (red) x 1.43")
    assert "matched to the first date" in two.source.stretch
    with open_dates([a, b], Comparison(radiometry="none")) as dates:
        np.testing.assert_array_equal(
            dates.rasters[1].read().pixels[..., 0], dim(draw_scene((300, 240), buildings=9))[0]
        )


def test_pixels_without_data_do_not_bend_the_law(tmp_path: Path) -> None:
    later = dim(SCENE)
    later[:, :, :120] = 0
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", later, nodata=0)
    with open_dates([a, b]) as dates:
        one, two = (raster.read() for raster in dates.rasters)
    assert np.abs(one.pixels.astype(int) - two.pixels)[two.valid].mean() < 1.5


def test_other_bit_depths_meet_in_the_light_of_the_first(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", SCENE.astype(np.float32) / 255 * 0.4)
    with open_dates([a, b], Comparison(bands="1,2,3")) as dates:
        one, two = (raster.read() for raster in dates.rasters)
    assert np.abs(one.pixels.astype(int) - two.pixels).max() <= 1


def test_dates_in_one_light_are_left_as_they_are(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", draw_scene((300, 240), buildings=9))
    with open_dates([a, b]) as dates:
        assert dates.rasters[1].stretch.text == "none (uint8)"
        assert dates.rasters[1].alignment is not None
        assert dates.rasters[1].alignment.radiometry == "alike"


def test_a_stretch_that_the_user_fixed_stays(tmp_path: Path) -> None:
    a = write_geotiff(tmp_path / "a.tif", SCENE)
    b = write_geotiff(tmp_path / "b.tif", dim(SCENE))
    for how, matched in ((Comparison(stretch="0,200"), False), (Comparison(stretch="0,200", radiometry="match"), True)):
        with open_dates([a, b], how) as dates:
            assert (dates.rasters[1].stretch.high != (200.0,) * 3) == matched

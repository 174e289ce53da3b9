from pathlib import Path

import numpy as np
import pytest

from rsvlm_cli.geo.coregister import Registration, edges, fit_registration, measure_registration, phase_shift
from rsvlm_cli.geo.raster import open_raster
from tests.factories import write_geotiff


def textured(size: int = 200, seed: int = 0) -> np.ndarray:
    """Smooth noise, ``(size, size)``: every Fourier component below a third of the sampling frequency."""
    rng, f = np.random.default_rng(seed), np.fft.fftfreq(size)
    keep = np.hypot(f[:, None], f[None]) < 0.3
    return np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (size, size))) * keep).real


def moved(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Shift periodically, exactly, by Fourier's law."""
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None]
    return np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (fx * dx + fy * dy))).real


@pytest.mark.parametrize("shift", [(0, 0), (3.4, 0), (-2.6, 2.2), (0.25, -0.5), (-17.3, 11.1)])
@pytest.mark.parametrize("shape", [(128, 128), (96, 150)])
def test_a_shift_is_found_to_a_tenth_of_a_pixel(shift: tuple[float, float], shape: tuple[int, int]) -> None:
    a = textured()
    b = moved(a, *shift) * 0.7 + 3 + np.random.default_rng(1).normal(0, 0.05, a.shape)
    inner = (slice(20, 20 + shape[0]), slice(20, 20 + shape[1]))
    x, y, peak = phase_shift(a[inner], b[inner])
    assert (x, y) == pytest.approx(shift, abs=0.1)
    assert peak > 15


def test_pictures_that_have_nothing_in_common_have_no_peak() -> None:
    assert phase_shift(textured(seed=1), textured(seed=2))[2] < 8
    assert phase_shift(np.zeros((64, 64)), np.zeros((64, 64))) == (0, 0, 0)


def test_the_rim_of_the_data_is_no_edge(tmp_path: Path) -> None:
    pixels = np.full((1, 40, 40), 200, np.uint8)
    pixels[:, :, :15] = 0
    with open_raster(write_geotiff(tmp_path / "a.tif", pixels, nodata=0)) as raster:
        assert np.abs(edges(raster.read())).max() == 0


GRID = np.stack(np.meshgrid(np.arange(5) * 200.0, np.arange(4) * 200.0), axis=-1).reshape(-1, 2)


def test_blocks_that_changed_are_outvoted() -> None:
    shifts = np.tile([3.4, -1.2], (20, 1)) + np.random.default_rng(0).normal(0, 0.03, (20, 2))
    shifts[:8] = np.random.default_rng(1).uniform(-30, 30, (8, 2))
    found = fit_registration(GRID, shifts)
    assert found is not None
    assert found.shift_px((0, 0)) == pytest.approx((3.4, -1.2), abs=0.05)
    assert (found.n_blocks, found.agreement, found.rotation_deg) == (20, 12 / 20, 0)


def test_a_turn_and_a_scale_are_told_from_a_shift() -> None:
    truth = Registration(moved=(1.001, -0.005, 4.0, 0.005, 1.001, -7.0), n_blocks=20, agreement=1.0)
    shifts = np.array([truth.shift_px((x, y)) for x, y in GRID])
    found = fit_registration(GRID, shifts)
    assert found is not None
    np.testing.assert_allclose(found.moved, truth.moved, atol=1e-9)
    assert found.rotation_deg == pytest.approx(0.286, abs=0.001)


@pytest.mark.parametrize("n", [0, 1, 2, 20])
def test_blocks_that_do_not_agree_measure_nothing(n: int) -> None:
    shifts = np.random.default_rng(3).uniform(-40, 40, (n, 2))
    assert fit_registration(GRID[:n], shifts) is None


def test_a_shift_larger_than_a_block_is_found_by_the_coarse_look(tmp_path: Path) -> None:
    scene = (textured(900) * 60 + 128).clip(0, 255).astype(np.uint8)
    rasters = [open_raster(write_geotiff(tmp_path / f"{x}.tif", scene[None, 100:700, x : x + 600])) for x in (250, 120)]
    with rasters[0] as a, rasters[1] as b:
        found = measure_registration(a, b, (0, 0, 600, 600))
    assert found is not None
    assert found.shift_px((300, 300)) == pytest.approx((130, 0), abs=0.05)


def test_water_measures_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [write_geotiff(tmp_path / f"{k}.tif", rng.integers(40, 48, (3, 300, 300)).astype(np.uint8)) for k in (0, 1)]
    with open_raster(paths[0]) as a, open_raster(paths[1]) as b:
        assert measure_registration(a, b, (0, 0, 300, 300)) is None

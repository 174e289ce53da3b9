"""Light and sensor between the ground and the stored pixel."""

import numpy as np

from train.data.radiometry import Radiometry, expose


def test_a_neutral_acquisition_stores_the_ground() -> None:
    ground = np.random.default_rng(0).uniform(0, 255, (32, 40, 3)).astype(np.float32)
    stored = expose(ground, Radiometry(), np.random.default_rng(1))
    assert np.abs(stored - ground).max() <= 0.51


def test_gain_and_haze_follow_their_law() -> None:
    ground = np.full((8, 8, 3), 100, np.float32)
    stored = expose(ground, Radiometry(gain=(1.5, 1.0, 0.5), haze=51), np.random.default_rng(1))
    assert stored[0, 0].tolist() == [round(v * 0.8 + 51) for v in (150, 100, 50)]


def test_a_shift_moves_the_content_by_its_pixels() -> None:
    ground = np.zeros((16, 16, 3), np.float32)
    ground[6:9, 4:7] = 200
    stored = expose(ground, Radiometry(shift_px=(1.0, -1.0)), np.random.default_rng(1))
    assert (stored == np.roll(ground, (-1, 1), (0, 1))).all()


def test_drought_browns_green_and_leaves_grey_alone() -> None:
    ground = np.zeros((4, 8, 3), np.float32)
    ground[:, :4], ground[:, 4:] = (60, 140, 50), (120, 120, 120)
    stored = expose(ground, Radiometry(dryness=1.0), np.random.default_rng(1))
    assert stored[0, 0, 0] > 60
    assert stored[0, 7].tolist() == [120, 120, 120]

from pathlib import Path

import numpy as np
import pytest

from benchmarks import change_dates
from benchmarks.change_dates import CASES, draw_ground, measure, tune


def test_change_survives_dates_that_do_not_lie_on_each_other(tmp_path: Path) -> None:
    rows = measure(tmp_path, [0], tune(tmp_path, [100]))
    assert set(rows) == set(CASES)
    _, aligned, no_shift = rows.pop("aligned")
    assert aligned > 0.85
    assert no_shift < 0.1
    for case, (lies, brought, shift) in rows.items():
        assert lies < 0.8 * aligned, case
        assert brought > 0.95 * aligned, case
        assert shift == pytest.approx(3.406, abs=0.1), case


def test_drawn_dates_differ_where_a_building_came_or_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_dates, "SIDE_M", 128.0)
    first, second, changed = draw_ground(1)
    assert first.shape == second.shape == (512, 512, 3)
    assert 0.002 < changed.mean() < 0.2
    difference = np.abs(first - second).max(axis=2)
    assert np.median(difference[changed]) > 30
    assert np.median(difference[~changed]) < 5

from pathlib import Path

import pytest

from benchmarks.change_dates import CASES, measure, tune


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

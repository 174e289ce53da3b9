"""What the benchmark of large scenes says a run took is what it took, once."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gigapixel import Run, fingerprint, run, truth_of
from tests.factories import write_geotiff
from train.data.scenes.palette import MASK_LABELS

REPORT = {"results": [], "looks": [{"n_windows": 9}], "sources": [], "transcript": [], "n_asked": 9, "seconds": {}}


def test_a_run_is_measured_and_not_run_again(tmp_path: Path) -> None:
    work = "import json, sys; block = bytearray(60_000_000); sum(range(2_000_000)); print(sys.argv[1])"
    arguments, kept = [sys.executable, "-c", work, json.dumps(REPORT)], tmp_path / "a.run"
    found = run(arguments, kept)
    assert found.report == REPORT
    assert 60 < found.peak_mb < 160
    assert found.cpu_s > 0.02
    assert run(["no such program"], kept) == found
    with pytest.raises(SystemExit, match="exit 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "b.run")


def test_windows_are_those_of_the_lattice_or_of_the_search() -> None:
    assert Run(1, 1, 1, REPORT).n_windows == 9
    assert Run(1, 1, 1, REPORT | {"results": [{"text": "no", "cost": {"windows": 85}}]}).n_windows == 85


def test_the_fingerprint_is_of_what_was_found_and_not_of_how_long_it_took(tmp_path: Path) -> None:
    one = fingerprint(tmp_path / "a.gpkg", REPORT)
    assert fingerprint(tmp_path / "b.gpkg", REPORT | {"seconds": {"read": 2.0}}) == one
    assert fingerprint(tmp_path / "b.gpkg", REPORT | {"n_asked": 8}) != one


def test_the_truth_is_the_cover_that_most_of_a_cell_shows(tmp_path: Path) -> None:
    cover = np.zeros((1, 64, 64), np.uint8)
    cover[:, :32, :24] = MASK_LABELS.index("water") + 1
    write_geotiff(tmp_path / "scene_cover.tif", cover)
    truth = truth_of(tmp_path / "scene.tif", (4, 4))
    assert truth.sum() == 4
    assert truth[:2, :2].all()

"""The quality table scores what it says it scores."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality import Bench, Score, _all_one, _difference_f1, _paint, table
from rsvlm_cli.results import Mask
from train.data.records import Record, write_records
from train.metrics.masks import confusion


def test_a_mask_is_painted_over_its_own_part_of_the_raster() -> None:
    cells = np.array([[1, 0], [255, 2]], np.uint8)
    painted = _paint(Mask(labels=("a", "b"), cells=cells, area_px=(0, 0, 6, 4)), (4, 6))
    assert painted.tolist() == [[1, 1, 1, 0, 0, 0]] * 2 + [[0, 0, 0, 2, 2, 2]] * 2


def test_marking_the_commonest_label_everywhere_scores_its_share_over_all_labels() -> None:
    truth = np.array([[1, 1, 2, 0]], np.uint8)
    # Everywhere label 1: IoU 2/4 for it, 0 for label 2.
    assert _all_one(confusion(np.zeros_like(truth), truth, 2)[None]) == 0.25


def test_the_difference_baseline_is_tuned_on_train_and_scored_on_val(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    records = []
    for split in ("train", "val"):
        before = rng.integers(90, 110, (32, 32), np.uint8)
        after, mask = before.copy(), np.zeros((32, 32), np.uint8)
        after[4:14, 4:14], mask[4:14, 4:14] = 250, 1
        for name, pixels in (("a", before), ("b", after), ("m", mask)):
            Image.fromarray(pixels).save(folder / f"{split}-{name}.png")
        records.append(
            Record(
                id=split,
                source="pairs",
                place=split,
                split=split,  # type: ignore[arg-type]
                images=(f"{split}-a.png", f"{split}-b.png"),
                mask=f"{split}-m.png",
                mask_labels=("building",),
            )
        )
    write_records(folder, records)
    bench = Bench(tmp_path, "none", 10)
    assert _difference_f1(bench, "pairs", bench.records("pairs")) > 0.85
    assert bench.records("absent") == []


def test_the_table_has_a_row_a_score_with_its_interval() -> None:
    lines = table([Score("ask", "set", 3, "accuracy", 0.5, (0.25, 0.75), 0.1, "always yes")]).splitlines()
    assert lines[2] == "| ask | set | 3 | accuracy | **0.500** | 0.25 to 0.75 | 0.10 (always yes) |"

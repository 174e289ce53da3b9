"""Rows of masks: land cover of one picture, change between two.

Axes: T thresholds, n records, L labels beside the background.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from rsvlm_cli import pipeline
from rsvlm_cli.results import Mask, Report
from train.data.records import Record
from train.evaluate.bench import Bench
from train.evaluate.score import RowScores, Sweep, swept_score, thresholds_with
from train.evaluate.suite import Row
from train.metrics.masks import confusion_of_cells, f1_of_labels, iou_of_labels, mean_iou, truth_in_cells

DIFFERENCES = np.arange(0.05, 5, 0.05)
"""Thresholds of an image difference, in standard deviations."""


def segment(bench: Bench, row: Row) -> RowScores:
    """Mean IoU over the labels of a set, at the command's own threshold, on the truth's full resolution."""
    used = bench.threshold("segment")
    grid = thresholds_with(used)
    settings = bench.as_command("segment", threshold=0.0)
    sweeps: list[Sweep] = []
    by_class: dict[str, dict[str, float]] = {}
    for name in row.sets:
        records = bench.sample([record for record in bench.records[name] if record.mask and len(record.images) == 1])
        if not records:
            continue
        labels = row.labels or tuple(dict.fromkeys(label for record in records for label in record.mask_labels))

        def ask(record: Record, labels: tuple[str, ...] = labels) -> Report | None:
            return bench.request(partial(pipeline.segment, bench.path(record), labels, settings))

        def truth(record: Record, labels: tuple[str, ...] = labels) -> np.ndarray:
            return truth_of(bench.truth(record), record.mask_labels, labels)

        counts = _confusions(bench, records, used, len(labels), ask, truth)
        blind = one_label_everywhere(counts[0].sum(axis=0))
        sweeps.append(_sweep(name, records, counts, mean_iou, blind))
        shares = iou_of_labels(counts[int(np.flatnonzero(grid == used)[0])].sum(axis=0))[1:]
        by_class |= {label: {"IoU": float(share)} for label, share in zip(labels, shares, strict=True)}
    n_labels = max((sweep.counts.shape[2] - 1 for sweep in sweeps), default=1)
    metric = f"mIoU of {n_labels} classes" if n_labels > 1 else "IoU"
    score = swept_score("segment", metric, sweeps, used, "commonest class everywhere")
    return RowScores(scores=(score,), by_class=by_class)


def truth_of(mask: np.ndarray, its_labels: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return an index mask with the values of other labels; a class that is none of them becomes background."""
    values = np.zeros(256, np.uint8)
    values[255] = 255
    for k, label in enumerate(its_labels, start=1):
        values[k] = labels.index(label) + 1 if label in labels else 0
    return values[mask]


def one_label_everywhere(counts: np.ndarray) -> float:
    """Return the mean IoU over labels of giving all pixels of summed counts the label that serves best."""
    pixels = counts.sum(axis=1)
    seen = pixels[1:] > 0
    return float(pixels[1:].max() / pixels.sum() / seen.sum()) if seen.any() else 0.0


def change(bench: Bench, row: Row) -> RowScores:
    """F1 of changed pixels, beside an image difference whose threshold suits these very pairs best."""
    used = bench.threshold("detect-change")
    settings = bench.as_command("detect-change", threshold=0.0)
    sweeps = []
    for name in row.sets:
        records = bench.sample([record for record in bench.records[name] if record.mask and len(record.images) == 2])
        if not records:
            continue

        def ask(record: Record) -> Report | None:
            word = row.asked.get(record.source, record.mask_labels[0])
            before, after = bench.path(record, 0), bench.path(record, 1)
            return bench.request(partial(pipeline.detect_change, [before, after], (word,), settings))

        counts = _confusions(bench, records, used, 1, ask, bench.truth)
        sweeps.append(_sweep(name, records, counts, changed_f1, _difference_f1(bench, records)))
    return RowScores(scores=(swept_score("detect-change", "F1", sweeps, used, "tuned image difference"),))


def changed_f1(counts: np.ndarray) -> float:
    """Return the F1 of the changed pixels of summed counts ``(2, 2)``."""
    return float(f1_of_labels(counts)[1])


def _sweep(
    name: str, records: Sequence[Record], counts: np.ndarray, read: Callable[[np.ndarray], float], blind: float
) -> Sweep:
    places = [record.place for record in records]
    return Sweep(data=name, places=places, counts=counts, read=read, baseline=blind)


def _confusions(
    bench: Bench,
    records: Sequence[Record],
    used: float,
    n_labels: int,
    ask: Callable[[Record], Report | None],
    read_truth: Callable[[Record], np.ndarray],
) -> np.ndarray:
    """Ask for each record's mask and count it at every threshold, ``(T, n, L + 1, L + 1)``; no reply is no cell set."""
    tables = []
    for record in bench.walk(records):
        report, truth = ask(record), read_truth(record)
        mask = report.results[0] if report else None
        if not isinstance(mask, Mask):
            height, width = truth.shape
            mask = Mask(labels=(), cells=np.zeros((1, 1), np.uint8), area_px=(0, 0, width, height))
        within = truth_in_cells(truth, mask.cells.shape[0], mask.cells.shape[1], mask.area_px, n_labels)
        tables.append(
            np.stack([confusion_of_cells(cells_at(mask, at), within) for at in thresholds_with(used).tolist()])
        )
    return np.stack(tables, axis=1)


def cells_at(mask: Mask, threshold: float) -> np.ndarray:
    """Return the cells of a mask that was asked for at threshold 0, as they are at a higher one."""
    if mask.probability is None:
        return mask.cells
    return np.where((mask.probability < threshold) & (mask.cells != 255), 0, mask.cells)


# --- without looking --------------------------------------------------------------------------------------------------


def _difference_f1(bench: Bench, records: Sequence[Record]) -> float:
    total = np.zeros((len(DIFFERENCES), 2, 2), np.int64)
    for record in records:
        paths = [bench.path(record, which) for which in (0, 1)]
        total += difference_counts(paths, bench.truth(record))
    return float(np.nanmax([np.nan_to_num(changed_f1(table)) for table in total]))


def difference_counts(paths: Sequence[str], truth: np.ndarray) -> np.ndarray:
    """Return the confusions of a grey difference at each of `DIFFERENCES`, ``(T, 2, 2)``.

    Each date is brought to mean 0 and standard deviation 1 first, so that another exposure is no change.
    """
    grey = []
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"), float)
        grey.append((pixels - pixels.mean()) / max(pixels.std(), 1e-6))
    # How many thresholds a pixel exceeds decides all of them at once.
    exceeded = np.searchsorted(DIFFERENCES, np.abs(grey[1] - grey[0]))
    known = truth != 255
    n = len(DIFFERENCES)
    by_truth = np.stack([np.bincount(exceeded[known & (truth == value)], minlength=n + 1) for value in (0, 1)])
    said = by_truth[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    return np.stack([by_truth.sum(axis=1)[:, None] - said, said], axis=2).transpose(1, 0, 2)

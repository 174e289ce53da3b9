"""Rows of masks: land cover of one picture, change between two.

Axes: T thresholds of a difference, n records, L labels beside the background.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from rsvlm_cli import pipeline
from rsvlm_cli.results import Mask, Report
from train.data.records import Record
from train.evaluate.bench import Bench
from train.evaluate.score import RowScores, Sample, score_of
from train.evaluate.suite import Row
from train.metrics.masks import confusion_of_cells, f1_of_labels, iou_of_labels, mean_iou, truth_in_cells

DIFFERENCES = np.arange(0.05, 5, 0.05)
"""Thresholds of an image difference, in standard deviations."""


def segment(bench: Bench, row: Row) -> RowScores:
    """Mean IoU over the labels of a set, as the command decides by itself, on the truth's full resolution."""
    settings = bench.as_command("segment")
    samples: list[Sample] = []
    by_class: dict[str, dict[str, float]] = {}
    n_labels = 1
    for name in row.sets:
        records = masked_records(bench, name, 1)
        if not records:
            continue
        labels = labels_of(row, records)
        n_labels = max(n_labels, len(labels))

        def ask(record: Record, labels: tuple[str, ...] = labels) -> Report | None:
            return bench.request(partial(pipeline.segment, bench.path(record), labels, settings))

        def truth(record: Record, labels: tuple[str, ...] = labels) -> np.ndarray:
            return truth_of(bench.truth(record), record.mask_labels, labels)

        counts = _confusions(bench, records, len(labels), ask, truth)
        total = counts.sum(axis=0)
        samples.append(_sample(name, records, counts, mean_iou, one_label_everywhere(total)))
        shares = iou_of_labels(total)[1:]
        by_class |= {label: {"IoU": float(share)} for label, share in zip(labels, shares, strict=True)}
    metric = f"mIoU of {n_labels} classes" if n_labels > 1 else "IoU"
    return RowScores(scores=(score_of("segment", metric, samples, "commonest class everywhere"),), by_class=by_class)


def masked_records(bench: Bench, name: str, n_images: int) -> list[Record]:
    """Return a set's records of so many images that have a mask, no more than the limit."""
    return bench.sample([record for record in bench.records[name] if record.mask and len(record.images) == n_images])


def labels_of(row: Row, records: Sequence[Record]) -> tuple[str, ...]:
    """Return the labels of a row, or else those of the records."""
    return row.labels or tuple(dict.fromkeys(label for record in records for label in record.mask_labels))


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
    settings = bench.as_command("detect-change")
    samples = []
    for name in row.sets:
        records = masked_records(bench, name, 2)
        if not records:
            continue

        def ask(record: Record) -> Report | None:
            before, after = bench.path(record, 0), bench.path(record, 1)
            return bench.request(partial(pipeline.detect_change, [before, after], (word_of(row, record),), settings))

        counts = _confusions(bench, records, 1, ask, bench.truth)
        samples.append(_sample(name, records, counts, changed_f1, _difference_f1(bench, records)))
    return RowScores(scores=(score_of("detect-change", "F1", samples, "tuned image difference"),))


def word_of(row: Row, record: Record) -> str:
    """Return the word for what changed that a record's set is asked by."""
    return row.asked.get(record.source, record.mask_labels[0])


def changed_f1(counts: np.ndarray) -> float:
    """Return the F1 of the changed pixels of summed counts ``(2, 2)``."""
    return float(f1_of_labels(counts)[1])


def _sample(
    name: str, records: Sequence[Record], counts: np.ndarray, read: Callable[[np.ndarray], float], blind: float
) -> Sample:
    score: Callable[[np.ndarray], float] = lambda counted: read(np.tensordot(counted, counts, 1))  # noqa: E731
    return Sample(data=name, places=[record.place for record in records], score=score, baseline=blind)


def _confusions(
    bench: Bench,
    records: Sequence[Record],
    n_labels: int,
    ask: Callable[[Record], Report | None],
    read_truth: Callable[[Record], np.ndarray],
) -> np.ndarray:
    """Ask for each record's mask and count it, ``(n, L + 1, L + 1)``; no reply is no cell set."""
    tables = []
    for record in bench.walk(records):
        report, truth = ask(record), read_truth(record)
        mask = report.results[0] if report else None
        if not isinstance(mask, Mask):
            height, width = truth.shape
            mask = Mask(labels=(), cells=np.zeros((1, 1), np.uint8), area_px=(0, 0, width, height))
        within = truth_in_cells(truth, mask.cells.shape[0], mask.cells.shape[1], mask.area_px, n_labels)
        tables.append(confusion_of_cells(mask.cells, within))
    return np.stack(tables)


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

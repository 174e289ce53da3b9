"""From which probability a cell or a box counts: found on images of a suite's sets, by areas and counts alone.

A mask read label by label says how probable each label is, but a thin thing such as a road fills few cells, and its
probabilities are low all over. So each label's threshold is the one at which as much ground is said to be of the label
as is of it. Of several sets with the label, the geometric mean of theirs. Boxes have one threshold: at it, as many are
found as there are things; of a class that a suite counts, one of its own. Whether there is one is asked of the most
probable box, from where a yes is wrong as often as a no. On images that the model was trained on it is surer than
elsewhere, so thresholds of those are too high; those of the validation side are right, and scores there know so much of
the truth.

Axes: R rows and Q columns of a mask's cells.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rsvlm_cli import pipeline
from rsvlm_cli.results import Mask, Report
from rsvlm_cli.runtime.bundle import Bundle, find_bundle, read_bundle, write_manifest
from rsvlm_cli.scene import open_engine
from rsvlm_cli.settings import Settings
from rsvlm_cli.tasks.mosaic import NO_DATA
from train.data.records import Record
from train.evaluate.bench import Bench, Progress, prepare_sets
from train.evaluate.boxes import Detected, detect_in
from train.evaluate.masks import labels_of, masked_records, truth_of, word_of
from train.evaluate.questions import count_of
from train.evaluate.suite import Kind, Row, Side, Suite
from train.metrics.masks import truth_in_cells

LEAST = 0.01
"""No label is said to be where it is less probable than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What was found.

    Attributes:
        boxes: least score of a box, by task; of ``ask``, of the best box of what is there as likely as not.
        labels: of each mask label, and of each class that is counted, by task.
    """

    boxes: dict[str, float]
    labels: dict[str, dict[str, float]]


def fit_thresholds(
    suite: Suite,
    root: Path,
    settings: Settings,
    side: Side,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Thresholds:
    """Find the thresholds of boxes and of all labels that a suite's mask rows ask for.

    Args:
        suite: its rows of boxes, yes or no, counts and masks are what is fitted.
        root: the folder of the data sets, in their publishers' layouts.
        settings: which bundle, on what.
        side: of the split.
        limit: at most so many images a set, evenly chosen.
        progress: is told how many of a set's images are done.

    Raises:
        InputError: if no set can be used.
        BundleError: if the bundle cannot.
    """
    fitted = (Kind.DETECT, Kind.PRESENCE, Kind.COUNT, Kind.SEGMENT, Kind.CHANGE)
    rows = [row for row in suite.rows if row.kind in fitted]
    boxes: dict[str, list[float]] = defaultdict(list)
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with TemporaryDirectory(prefix="rsvlm-fit-") as workspace:
        names = tuple(dict.fromkeys(name for row in rows for name in row.sets))
        folders, records, _ = prepare_sets(names, root, Path(workspace), side)
        bundle = read_bundle(find_bundle(settings.model))
        bench = Bench(
            bundle=bundle, settings=settings, folders=folders, records=records, limit=limit, progress=progress
        )

        def detected(row: Row, task: str) -> list[Detected]:
            every = (detect_in(bench, name, row.labels, task) for name in row.sets if name in records)
            return [each for each in every if each.everything]  # a set may be complete in none of the labels

        for row in rows:
            if row.kind is Kind.DETECT:
                for task in ("detect", "ground"):
                    boxes[task] += [_fit_boxes(each, each.n_truths) for each in detected(row, task)]
                continue
            if row.kind is Kind.PRESENCE:
                boxes["ask"] += [_fit_presence(each) for each in detected(row, "ground") if each.n_truths]
                continue
            if row.kind is Kind.COUNT:
                (label,) = row.labels
                every = detected(row, "detect")
                found["count"][label] += [
                    max(_fit_boxes(each, sum(count_of(r, label) for r in each.records)), LEAST) for each in every
                ]
                continue
            task = "segment" if row.kind is Kind.SEGMENT else "detect-change"
            for name in row.sets:
                for label, threshold in _fit_set(bench, replace(row, sets=(name,)), task):
                    found[task][label].append(threshold)
    return Thresholds(
        boxes={task: round(float(np.mean(values)), 3) for task, values in boxes.items() if values},
        labels={
            task: {
                label: round(float(np.exp(np.mean(np.log(values)))), 3) for label, values in by_label.items() if values
            }
            for task, by_label in found.items()
        },
    )


def stamp_thresholds(bundle: Bundle, thresholds: Thresholds) -> Bundle:
    """Write thresholds into a bundle's manifest and return the bundle as it is now."""
    open_engine.cache_clear()  # An engine that is open has the manifest as it was.
    told = {"best_thresholds": thresholds.boxes, "label_thresholds": thresholds.labels}
    quality = dict(bundle.manifest.quality or {}) | told
    return write_manifest(bundle.path, replace(bundle.manifest, quality=quality))


def threshold_of(p_set: np.ndarray, share: np.ndarray) -> float:
    """Return the probability that as many cells reach as there is ground of the label.

    Args:
        p_set: ``(n,)``, what was said of each cell.
        share: ``(n,)`` in [0, 1], how much of it is of the label.
    """
    return max(float(np.quantile(p_set, 1 - share.mean())), LEAST)


def _fit_boxes(found: Detected, n_things: int) -> float:
    scores = np.concatenate([one.scores for one in found.everything])
    return float(np.quantile(scores, max(0.0, 1 - n_things / len(scores)))) if len(scores) else 0.0


def _fit_presence(found: Detected) -> float:
    there = np.array([len(one.truths) > 0 for one in found.everything], bool)
    best = np.array([one.scores.max(initial=0.0) for one in found.everything])
    return equal_errors(best[there], best[~there])


def equal_errors(there: np.ndarray, gone: np.ndarray) -> float:
    """Return the score from which a yes is wrong as often as a no.

    Args:
        there: ``(n,)``, scores of what is there, n at least 1.
        gone: ``(m,)``, scores of what is not.
    """
    scores = np.unique(np.concatenate([there, gone]))
    missed = np.searchsorted(np.sort(there), scores) / max(len(there), 1)
    alarms = 1 - np.searchsorted(np.sort(gone), scores) / max(len(gone), 1)
    return float(scores[np.abs(missed - alarms).argmin()])


def _fit_set(bench: Bench, row: Row, task: str) -> Iterator[tuple[str, float]]:
    """Ask for every label alone, so that each cell tells its probability; yield each label's threshold."""
    (name,) = row.sets
    records = masked_records(bench, name, 1 if task == "segment" else 2) if name in bench.records else []
    if not records:
        return
    settings = bench.as_command(task, threshold=0.0)
    labels = labels_of(row, records) if task == "segment" else tuple({word_of(row, record) for record in records})
    said: dict[str, list[np.ndarray]] = defaultdict(list)
    true: dict[str, list[np.ndarray]] = defaultdict(list)
    for record in bench.walk(records):
        for label in labels:
            if task == "detect-change" and label != word_of(row, record):
                continue
            report = bench.request(partial(_ask, bench, record, label, settings))
            mask = report.results[0] if report else None
            if isinstance(mask, Mask):
                truth = bench.truth(record)
                if task == "segment":
                    truth = truth_of(truth, record.mask_labels, (label,))
                p_set, share = _known_cells(mask, truth)
                said[label].append(p_set)
                true[label].append(share)
    for label in labels:
        if said[label]:
            yield label, threshold_of(np.concatenate(said[label]), np.concatenate(true[label]))


def _ask(bench: Bench, record: Record, label: str, settings: Settings) -> Report:
    paths = [bench.path(record, which) for which in range(len(record.images))]
    if len(paths) == 1:
        return pipeline.segment(paths[0], (label,), settings)
    return pipeline.detect_change(paths, (label,), settings)


def _known_cells(mask: Mask, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probability and true share of the cells where both are known."""
    assert mask.probability is not None
    # At a threshold of 0, a cell that is not set has a probability of 0.
    p_set = np.where(mask.cells == 1, mask.probability, 0)
    within = truth_in_cells(truth, mask.cells.shape[0], mask.cells.shape[1], mask.area_px, 1)
    n_known = within.sum(axis=-1)
    known = (n_known > 0) & (mask.cells != NO_DATA)
    return p_set[known], (within[..., 1] / np.maximum(n_known, 1))[known]

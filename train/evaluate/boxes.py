"""Rows of boxes: every object of the classes.

Axes: D detections, G truths of one image and class.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from rsvlm_cli import pipeline
from rsvlm_cli.results import Box
from train.data.convert.readers import image_size
from train.data.records import Record
from train.evaluate.bench import Bench
from train.evaluate.grounding import MEDIAN_BOX, Target, locate
from train.evaluate.score import (
    Points,
    RowScores,
    Sample,
    Score,
    Sweep,
    score_of,
    swept_score,
    thresholds_with,
)
from train.evaluate.suite import Row
from train.metrics.boxes import Counts, match_boxes
from train.metrics.precision import (
    CocoScores,
    ImageBoxes,
    ScoredBoxes,
    match_without_scores,
    mean_precision,
    quads_of_boxes,
)


@dataclass(frozen=True, slots=True)
class Found:
    """One class in one image.

    Attributes:
        boxes: ``(D, 4)``, ``x1, y1, x2, y2`` in pixels: all that the command can give, whatever they score.
        scores: ``(D,)``.
        truths: ``(G, 4)``.
        hit: ``(D,)`` bool, at an IoU of 0.5; a box never loses a truth to one that scores less, so that a threshold
            leaves the others as they are.
    """

    boxes: np.ndarray
    scores: np.ndarray
    truths: np.ndarray
    hit: np.ndarray

    @classmethod
    def match(cls, boxes: Sequence[Sequence[float]], scores: Sequence[float], truths: np.ndarray) -> "Found":
        """Match detections with truths."""
        corners, sure = np.asarray(boxes, float).reshape(-1, 4), np.asarray(scores, float)
        return cls(corners, sure, truths, match_boxes(corners, sure, truths))

    def counts(self, threshold: float) -> np.ndarray:
        """Return hits, false alarms and misses of the boxes that reach a threshold, ``(3,)`` int."""
        kept = self.scores >= threshold
        hits = int(self.hit[kept].sum())
        return np.array([hits, int(kept.sum()) - hits, len(self.truths) - hits])


@dataclass(frozen=True, slots=True)
class Detected:
    """A set's records, and of each what was found of every class that was asked for."""

    name: str
    records: Sequence[Record]
    sizes: Sequence[tuple[int, int]]
    classes: Sequence[dict[str, Found]]

    @property
    def labels(self) -> list[str]:
        """All class words that were asked for."""
        return sorted({label for classes in self.classes for label in classes})

    @property
    def places(self) -> list[str]:
        """The place of each record."""
        return [record.place for record in self.records]

    @property
    def everything(self) -> list[Found]:
        """What was found of each class in each record."""
        return [one for classes in self.classes for one in classes.values()]

    @property
    def n_truths(self) -> int:
        """How many things there are."""
        return sum(len(one.truths) for one in self.everything)

    def counts(self, threshold: float) -> np.ndarray:
        """Return each record's hits, false alarms and misses over its classes, ``(n, 3)``."""
        return np.array(
            [sum((f.counts(threshold) for f in found.values()), np.zeros(3, int)) for found in self.classes]
        )

    def of_label(self, label: str) -> list[Found]:
        """Return what was found of one class where it was asked for."""
        return [found[label] for found in self.classes if label in found]


def detect(bench: Bench, row: Row) -> RowScores:
    """F1, precision and recall at the command's own threshold, mAP, mAP_nc; and the grounding of lone objects."""
    used = bench.least_score("detect")
    sets = [detect_in(bench, name, row.labels) for name in row.sets]
    blinds = [blind_of(found) for found in sets]
    grid = thresholds_with(used)

    def counted(metric: str, read: Callable[[np.ndarray], float]) -> Score:
        sweeps = [
            Sweep(
                data=found.name,
                places=found.places,
                counts=np.stack([found.counts(at) for at in grid]),
                read=read,
                baseline=read(best_blind_counts(blind)),
            )
            for found, blind in zip(sets, blinds, strict=True)
        ]
        if metric == F1:
            return swept_score("detect", metric, sweeps, used, MEDIAN_BOX)
        at = int(np.flatnonzero(grid == used)[0])
        return score_of("detect", metric, [sweep.sample(at) for sweep in sweeps], MEDIAN_BOX, threshold=used)

    scores = [
        counted(F1, lambda c: _counts(c).f1),
        counted("precision at IoU 0.5", lambda c: _counts(c).precision),
        counted("recall at IoU 0.5", lambda c: _counts(c).recall),
        *(_curve_score(name, measure, sets, blinds) for name, measure in curves(used).items()),
        *locate(bench, {found.name: lone_objects(found) for found in sets}),
    ]
    pairs = [(record.place, f) for found in sets for record, f in _each(found)]
    points = Points(
        what="boxes",
        places=[place for place, f in pairs for _ in f.scores],
        scores=np.concatenate([f.scores for _, f in pairs]) if pairs else np.empty(0),
        right=np.concatenate([f.hit for _, f in pairs]) if pairs else np.empty(0, bool),
    )
    return RowScores(scores=tuple(scores), by_class=_by_class(sets, used), points=(points,))


F1 = "F1 at IoU 0.5"


def _counts(of: np.ndarray) -> Counts:
    return Counts(*(int(v) for v in of))


def _each(found: Detected) -> Iterator[tuple[Record, Found]]:
    for record, classes in zip(found.records, found.classes, strict=True):
        for one in classes.values():
            yield record, one


def detect_in(bench: Bench, name: str, labels: tuple[str, ...], task: str = "detect") -> Detected:
    """Ask in a command's own windows for every class in which a record is complete, or those that a row names."""
    records, classes = bench.sample([record for record in bench.records[name] if record.complete]), []
    settings = bench.as_command(task, min_score=0.0)
    for record in bench.walk(records):
        known = [label for label in record.complete if not labels or label in labels]
        report = bench.request(partial(pipeline.detect, "detect", bench.path(record), known, settings))
        boxes = [box for box in (report.results if report else ()) if isinstance(box, Box)]
        classes.append({label: _match(record, label, boxes) for label in known})
    return Detected(name, records, [image_size(Path(bench.path(record))) for record in records], classes)


def _match(record: Record, label: str, boxes: Sequence[Box]) -> Found:
    mine = [box for box in boxes if box.label == label]
    return Found.match([box.box_px for box in mine], [box.score or 0.0 for box in mine], truths_of(record, label))


def truths_of(record: Record, label: str) -> np.ndarray:
    """Return a class's true boxes, ``(G, 4)`` in pixels."""
    return np.array([item.box_px for item in record.objects if item.label == label], float).reshape(-1, 4)


def _by_class(sets: Sequence[Detected], used: float) -> dict[str, dict[str, float]]:
    table = {}
    for label in sorted({label for found in sets for label in found.labels}):
        total = sum((f.counts(used) for found in sets for f in found.of_label(label)), np.zeros(3, int))
        counts = _counts(total)
        table[label] = {
            "precision": counts.precision,
            "recall": counts.recall,
            "f1": counts.f1,
            "n": counts.hits + counts.misses,
        }
    return table


# --- average precision ------------------------------------------------------------------------------------------------


def curves(used: float) -> dict[str, Callable[[Detected], Callable[[np.ndarray], float]]]:
    """Return the mean average precisions: each takes what was found and returns the score over counted records."""

    def coco(found: Detected, iou: float | None) -> Callable[[np.ndarray], float]:
        scores = coco_scores(found)
        return lambda counted: scores.map(counted, iou)

    def nc(found: Detected) -> Callable[[np.ndarray], float]:
        matches = [match_without_scores(images_of(found, label, used)) for label in found.labels]
        return lambda counted: mean_precision(matches, counted)

    return {
        "mAP, COCO": lambda found: coco(found, None),
        "mAP at IoU 0.5, COCO": lambda found: coco(found, 0.5),
        "mAP_nc": nc,
    }


def coco_scores(found: Detected) -> CocoScores:
    """Hand all boxes to COCO's matching."""
    labels = {label: k for k, label in enumerate(found.labels)}
    parts = [(k, labels[label], f) for k, classes in enumerate(found.classes) for label, f in classes.items()]
    return CocoScores(
        [ScoredBoxes(k, label, f.boxes, f.scores) for k, label, f in parts],
        [ScoredBoxes(k, label, f.truths) for k, label, f in parts],
        len(found.records),
        len(labels),
    )


def images_of(found: Detected, label: str, threshold: float) -> list[ImageBoxes]:
    """Return one class in every record, boxes that reach a threshold alone; nothing where it was not asked for."""
    nothing = quads_of_boxes(np.empty((0, 4)))
    return [
        ImageBoxes(quads_of_boxes(f.boxes[f.scores >= threshold]), quads_of_boxes(f.truths))
        if (f := classes.get(label))
        else ImageBoxes(nothing, nothing)
        for classes in found.classes
    ]


def _curve_score(
    metric: str,
    measure: Callable[[Detected], Callable[[np.ndarray], float]],
    sets: Sequence[Detected],
    blinds: Sequence[Detected],
) -> Score:
    samples = [
        Sample(
            data=found.name,
            places=found.places,
            score=measure(found),
            baseline=measure(blind)(np.ones(len(blind.records), int)),
        )
        for found, blind in zip(sets, blinds, strict=True)
    ]
    return score_of("detect", metric, samples, MEDIAN_BOX)


# --- without looking --------------------------------------------------------------------------------------------------


def median_box(found: Detected, label: str) -> np.ndarray | None:
    """Return the median of a class's true boxes as shares of their images, ``(4,)``, or None where there is none."""
    shares = [
        found_in[label].truths / np.array(size * 2)
        for found_in, size in zip(found.classes, found.sizes, strict=True)
        if label in found_in
    ]
    every = np.concatenate(shares) if shares else np.empty((0, 4))
    return np.median(every, axis=0) if len(every) else None


def blind_of(found: Detected) -> Detected:
    """Return what one finds who never looks: each class's median box in every image."""
    medians = {label: median_box(found, label) for label in found.labels}
    classes = []
    for found_in, size in zip(found.classes, found.sizes, strict=True):
        said = {label: [] if (box := medians[label]) is None else [box * np.array(size * 2)] for label in found_in}
        classes.append(
            {label: Found.match(said[label], [1.0] * len(said[label]), f.truths) for label, f in found_in.items()}
        )
    return replace(found, classes=classes)


def best_blind_counts(blind: Detected) -> np.ndarray:
    """Return hits, false alarms and misses of the best blind choice: all classes, or one of them alone."""
    n_truths = blind.n_truths
    choices = [sum((f.counts(0.0) for _, f in _each(blind)), np.zeros(3, int))]
    for label in blind.labels:
        hits, alarms, _ = sum((f.counts(0.0) for f in blind.of_label(label)), np.zeros(3, int))
        choices.append(np.array([hits, alarms, n_truths - hits]))
    return max(choices, key=lambda c: np.nan_to_num(_counts(c).f1))


def lone_objects(found: Detected) -> list[Target]:
    """Return the objects that are the only one of their class in their image, each named by its class."""
    return [
        Target(record, label, label, f.truths[0], size)
        for record, classes, size in zip(found.records, found.classes, found.sizes, strict=True)
        for label, f in classes.items()
        if len(f.truths) == 1
    ]

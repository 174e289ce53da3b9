"""Rows of grounding: the one thing that a phrase names."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rsvlm_cli import pipeline
from rsvlm_cli.results import Box
from train.data.convert.readers import image_size
from train.data.records import Record
from train.evaluate.bench import Bench
from train.evaluate.score import RowScores, Sample, Score, mean_of, score_of
from train.evaluate.suite import Row
from train.metrics.boxes import iou_matrix

MEDIAN_BOX = "each class's median box in every image"
OTHERS_BOX = "median box of the others of the class"


@dataclass(frozen=True, slots=True)
class Target:
    """The one thing in an image that a phrase names.

    Attributes:
        record: the image.
        phrase: what is asked for.
        kind: targets of one kind are guessed from each other.
        box: ``(4,)`` in pixels.
        size: width and height of the image.
    """

    record: Record
    phrase: str
    kind: str
    box: np.ndarray
    size: tuple[int, int]


def ground(bench: Bench, row: Row) -> RowScores:
    """The boxes of phrases that fit one place each."""
    targets = {}
    for name in row.sets:
        records = bench.sample([record for record in bench.records[name] if record.phrases])
        targets[name] = [
            Target(record, item.label, "phrase", np.array(item.box_px), image_size(Path(bench.path(record))))
            for record in records
            for item in record.phrases
        ]
    return RowScores(scores=locate(bench, targets))


def locate(bench: Bench, targets: dict[str, list[Target]]) -> tuple[Score, ...]:
    """Score the best box of each phrase: how many overlap their target by half, and by how much on average."""
    overlaps: list[Sample] = []
    hits: list[Sample] = []
    settings = bench.as_command("ground", min_score=bench.least_score("ground"))
    for name, wanted in ((name, wanted) for name, wanted in targets.items() if wanted):
        ious, blind = np.zeros(len(wanted)), np.zeros(len(wanted))
        for k, target in enumerate(bench.walk(wanted)):
            report = bench.request(
                partial(pipeline.detect, "ground", bench.path(target.record), [target.phrase], settings)
            )
            boxes = [box for box in (report.results if report else ()) if isinstance(box, Box)]
            if boxes:
                best = max(boxes, key=lambda box: box.score or 0.0)
                ious[k] = iou_matrix(np.array(best.box_px), target.box)[0, 0]
            blind[k] = iou_matrix(median_of_others(wanted, k), target.box)[0, 0]
        places = [target.record.place for target in wanted]
        overlaps.append(Sample(data=name, places=places, score=mean_of(ious), baseline=float(blind.mean())))
        share = float((blind >= 0.5).mean())
        hits.append(Sample(data=name, places=places, score=mean_of(ious >= 0.5), baseline=share))
    return (
        score_of("ground", "acc@0.5", hits, OTHERS_BOX, threshold=settings.min_score),
        score_of("ground", "mIoU of boxes", overlaps, OTHERS_BOX, threshold=settings.min_score),
    )


def median_of_others(targets: Sequence[Target], k: int) -> np.ndarray:
    """Return what one guesses for a target who never looks, ``(4,)`` in pixels of its image.

    That is the median box of the other targets of its kind, as shares of their images; of no other, the whole image.
    """
    size = np.array(targets[k].size * 2)
    shares = [t.box / np.array(t.size * 2) for i, t in enumerate(targets) if i != k and t.kind == targets[k].kind]
    return size * (np.median(shares, axis=0) if shares else np.array([0, 0, 1, 1]))

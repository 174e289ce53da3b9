"""Mean average precision of detectors: mAP_nc, which needs no confidences, and COCO's.

mAP_nc ("mAP without confidence") is fair to a model that writes boxes as text: every box scores 1, so a wrong box costs
as much as it should. Exactly: rotated IoU of 0.5; a detection looks at the truth that it overlaps most, and is a hit if
no earlier one took it; difficult truths are neither hit nor missed; average precision of VOC 2007, at 11 recalls; the
mean over classes that have a truth. The order of equal scores, which the reference leaves to an unstable sort, is here
that of images and of boxes in a reply.
Source: Li et al., LMMRotate (arXiv:2501.09720) and RSCoVLM (arXiv:2511.21272); matching as mmrotate 1.x.

Axes: D detections, G truths of one image and class; a class's detections of all images are N.
"""

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import shapely
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

RECALLS = np.linspace(0, 1, 11)
COCO_RECALLS = np.linspace(0, 1, 101)


def quads_of_boxes(boxes: np.ndarray) -> np.ndarray:
    """Return boxes ``x1, y1, x2, y2`` as quads: ``(D, 4)`` to ``(D, 4, 2)`` corners in turn."""
    return np.asarray(boxes, float).reshape(-1, 4)[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]


def iou_of_quads(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return intersection over union of every pair of convex quads, ``(D, G)`` for ``(D, 4, 2)`` and ``(G, 4, 2)``."""
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    left, right = shapely.polygons(a)[:, None], shapely.polygons(b)[None, :]
    shared: np.ndarray = shapely.area(shapely.intersection(left, right))
    union = shapely.area(left) + shapely.area(right) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """One class in one image.

    Attributes:
        found: ``(D, 4, 2)`` detections, in the order of the reply.
        truths: ``(G, 4, 2)``.
        difficult: ``(G,)`` bool, or None where no truth is.
    """

    found: np.ndarray
    truths: np.ndarray
    difficult: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """What became of a class's detections.

    Attributes:
        image: ``(N,)`` index of each detection's image.
        hit, false_alarm: ``(N,)`` bool; neither, where it met a difficult truth.
        n_truths: ``(images,)`` truths that count.
    """

    image: np.ndarray
    hit: np.ndarray
    false_alarm: np.ndarray
    n_truths: np.ndarray


def match_without_scores(images: Sequence[ImageBoxes], iou: float = 0.5) -> ClassMatches:
    """Match one class's detections of all images."""
    where: list[int] = []
    hit: list[bool] = []
    false_alarm: list[bool] = []
    n_truths = np.zeros(len(images), int)
    for k, boxes in enumerate(images):
        overlaps = iou_of_quads(boxes.found, boxes.truths)
        difficult = np.zeros(len(boxes.truths), bool) if boxes.difficult is None else boxes.difficult
        n_truths[k], taken = int((~difficult).sum()), np.zeros(len(boxes.truths), bool)
        for row in overlaps:
            best = int(row.argmax()) if len(row) else -1
            met = best >= 0 and row[best] >= iou
            passed_over = met and bool(difficult[best])
            hit.append(bool(met and not passed_over and not taken[best]))
            false_alarm.append(not hit[-1] and not passed_over)
            if hit[-1]:
                taken[best] = True
            where.append(k)
    return ClassMatches(np.array(where, int), np.array(hit, bool), np.array(false_alarm, bool), n_truths)


def average_precision(matches: ClassMatches, counted: np.ndarray | None = None) -> float:
    """Return the 11-point average precision of one class in its order; nan without a truth.

    Args:
        matches: of the class.
        counted: ``(images,)`` how often each image counts, or None for once.

    Source: Everingham et al. 2010, IJCV 88, VOC 2007.
    """
    times = np.ones(len(matches.n_truths), int) if counted is None else counted
    n = int((matches.n_truths * times).sum())
    if n == 0:
        return float("nan")
    hits, alarms = (np.cumsum(of * times[matches.image]) for of in (matches.hit, matches.false_alarm))
    recall, precision = hits / n, hits / np.maximum(hits + alarms, 1)
    # A hair below the recall, for 0.3 of ten truths is not 3 / 10 in binary.
    reached = [precision[recall >= at - 1e-9] for at in RECALLS]
    return float(np.mean([p.max() if len(p) else 0.0 for p in reached]))


def mean_precision(classes: Sequence[ClassMatches], counted: np.ndarray | None = None) -> float:
    """Return the mean over classes that have a truth: mAP_nc; nan of none."""
    values = np.array([average_precision(matches, counted) for matches in classes])
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


# --- COCO -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScoredBoxes:
    """Detections or truths of one class in one image: ``(D, 4)`` as ``x1, y1, x2, y2``, scores ``(D,)`` or None."""

    image: int
    label: int
    boxes: np.ndarray
    scores: np.ndarray | None = None


class CocoScores:
    """COCO's mean average precision, matched by pycocotools once and summed anew for each draw of images.

    Args:
        found: detections with scores.
        truths: the same without.
        n_images: how many images, those without any box too.
        n_labels: how many classes.
    """

    def __init__(
        self, found: Sequence[ScoredBoxes], truths: Sequence[ScoredBoxes], n_images: int, n_labels: int
    ) -> None:
        self.n_images = n_images
        images = _evaluate(found, truths, n_images, n_labels).evalImgs
        # One area range and one limit are asked for, so that the images of a class lie next to each other.
        self._classes = [_gather(images[k * n_images : (k + 1) * n_images]) for k in range(n_labels)]

    def map(self, counted: np.ndarray | None = None, iou: float | None = None) -> float:
        """Return mAP over IoU 0.5 to 0.95, or at one of these.

        Args:
            counted: ``(images,)`` how often each image counts, or None for once.
            iou: 0.5, 0.55, ..., 0.95, or None for their mean.

        Returns:
            In [0, 1]; nan without a truth.
        """
        times = np.ones(self.n_images, int) if counted is None else counted
        chosen = slice(None) if iou is None else [round((iou - 0.5) / 0.05)]
        precision = np.array([_interpolated(one, times, chosen) for one in self._classes])
        return float(np.nanmean(precision)) if np.isfinite(precision).any() else float("nan")


@dataclass(frozen=True, slots=True)
class _CocoClass:
    """One class's detections of all images, best first: ``(10, N)`` hits by IoU, their image, and truths an image."""

    hits: np.ndarray
    image: np.ndarray
    n_truths: np.ndarray


def _gather(images: Sequence[Any]) -> _CocoClass:
    """Join what pycocotools says of each image; None where the class has no box on either side."""
    known = [(k, image) for k, image in enumerate(images) if image is not None]
    scores = np.concatenate([image["dtScores"] for _, image in known]) if known else np.empty(0)
    order = np.argsort(-scores, kind="mergesort")
    hits = np.concatenate([image["dtMatches"] for _, image in known], axis=1) > 0 if known else np.empty((10, 0), bool)
    where = np.array([k for k, image in known for _ in image["dtScores"]], int)
    n_truths = np.array([0 if image is None else len(image["gtIds"]) for image in images])
    return _CocoClass(hits[:, order], where[order], n_truths)


def _interpolated(one: _CocoClass, times: np.ndarray, chosen: slice | list[int]) -> np.ndarray:
    """Return a class's average precision at chosen IoUs as pycocotools accumulates it; nan without a truth."""
    hits = one.hits[chosen]
    n_truths = int(one.n_truths @ times)
    if n_truths == 0:
        return np.full(len(hits), np.nan)
    weights = times[one.image]
    summed, said = np.cumsum(hits * weights, axis=1), np.maximum(np.cumsum(weights), 1)
    result = np.zeros(len(hits))
    for k, row in enumerate(summed):
        # Beyond the last recall that is reached the precision is 0.
        precision = np.append(np.maximum.accumulate((row / said)[::-1])[::-1], 0.0)
        result[k] = precision[np.searchsorted(row / n_truths, COCO_RECALLS, side="left")].mean()
    return result


def _evaluate(found: Sequence[ScoredBoxes], truths: Sequence[ScoredBoxes], n_images: int, n_labels: int) -> COCOeval:
    def entries(many: Sequence[ScoredBoxes]) -> list[dict[str, Any]]:
        listed = [
            {
                "image_id": part.image,
                "category_id": part.label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": 1.0 if part.scores is None else float(part.scores[k]),
            }
            for part in many
            for k, (x1, y1, x2, y2) in enumerate(np.asarray(part.boxes, float).tolist())
        ]
        return [entry | {"id": k} for k, entry in enumerate(listed, start=1)]

    sides = []
    with redirect_stdout(StringIO()):  # The library prints its progress.
        for many in (truths, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": k} for k in range(n_images)],
                "categories": [{"id": k} for k in range(n_labels)],
                "annotations": entries(many),
            }
            side.createIndex()
            sides.append(side)
        coco = COCOeval(*sides, "bbox")
        coco.params.areaRng, coco.params.areaRngLbl = [[0, 1e10]], ["all"]
        coco.params.maxDets = [100]
        coco.evaluate()
    return coco

"""Scores of boxes: matching at an IoU threshold, precision, recall, F1.

Axes: D detections, G truths. Boxes are ``x1, y1, x2, y2`` in one frame, any unit.
"""

from dataclasses import dataclass

import numpy as np


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return intersection over union of every pair, ``(D, G)`` for ``(D, 4)`` and ``(G, 4)``."""
    a, b = np.asarray(a, float).reshape(-1, 1, 4), np.asarray(b, float).reshape(1, -1, 4)
    side = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inter = side.clip(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inter
    return inter / np.maximum(union, 1e-12)


def match_boxes(boxes: np.ndarray, scores: np.ndarray, truths: np.ndarray, iou: float = 0.5) -> np.ndarray:
    """Say for each detection, ``(D,)`` bool, whether it hits a truth that no better-scored one took.

    A detection looks at its best-overlapping free truth, as the COCO protocol does; ties of score keep the given order.
    """
    overlaps = iou_matrix(boxes, truths)
    hit, taken = np.zeros(len(boxes), bool), np.zeros(len(truths), bool)
    for d in np.argsort(-np.asarray(scores, float), kind="stable"):
        free = np.where(taken, -1.0, overlaps[d])
        if len(free) and free.max() >= iou:
            hit[d] = taken[int(free.argmax())] = True
    return hit


@dataclass(frozen=True, slots=True)
class Counts:
    """Hits, false alarms and misses, summable."""

    hits: int = 0
    false_alarms: int = 0
    misses: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.hits + other.hits, self.false_alarms + other.false_alarms, self.misses + other.misses)

    @property
    def precision(self) -> float:
        """Share of detections that hit; nan without detections."""
        return self.hits / (self.hits + self.false_alarms) if self.hits + self.false_alarms else float("nan")

    @property
    def recall(self) -> float:
        """Share of truths that were hit; nan without truths."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of both; nan where there is neither a detection nor a truth."""
        total = 2 * self.hits + self.false_alarms + self.misses
        return 2 * self.hits / total if total else float("nan")


def count_matches(boxes: np.ndarray, scores: np.ndarray, truths: np.ndarray, iou: float = 0.5) -> Counts:
    """Match one image's detections of one class and count."""
    hits = int(match_boxes(boxes, scores, truths, iou).sum())
    return Counts(hits, len(boxes) - hits, len(truths) - hits)

"""Scores of masks, summed over images as confusion counts."""

import numpy as np


def confusion(predicted: np.ndarray, truth: np.ndarray, n_labels: int, *, ignore: int = 255) -> np.ndarray:
    """Count pixels: ``(n_labels + 1, n_labels + 1)`` int64, row truth, column prediction, 0 background.

    Args:
        predicted: uint8 labels.
        truth: uint8 labels of the same shape; ``ignore`` is not counted.
        n_labels: labels beside the background.
        ignore: value of unlabelled pixels.
    """
    known = truth != ignore
    flat = truth[known].astype(np.int64) * (n_labels + 1) + predicted[known]
    return np.bincount(flat, minlength=(n_labels + 1) ** 2).reshape(n_labels + 1, n_labels + 1)


def iou_of_labels(counts: np.ndarray) -> np.ndarray:
    """Return each label's intersection over union, background first; nan where a label occurs on neither side."""
    hits = np.diag(counts).astype(float)
    union = counts.sum(0) + counts.sum(1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def f1_of_labels(counts: np.ndarray) -> np.ndarray:
    """Return each label's F1 (Dice), background first; nan where a label occurs on neither side."""
    hits = np.diag(counts).astype(float)
    total = counts.sum(0) + counts.sum(1)
    return np.divide(2 * hits, total, out=np.full(len(hits), np.nan), where=total > 0)

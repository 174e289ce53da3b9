"""Scores of masks, summed over images as confusion counts.

Axes: H, W pixels of the truth; R, Q cells of a predicted mask; L labels beside the background.
"""

import numpy as np


def confusion(predicted: np.ndarray, truth: np.ndarray, n_labels: int, *, ignore: int = 255) -> np.ndarray:
    """Count pixels: ``(L + 1, L + 1)`` int64, row truth, column prediction, 0 background.

    Args:
        predicted: uint8 labels.
        truth: uint8 labels of the same shape; ``ignore`` is not counted.
        n_labels: L.
        ignore: value of unlabelled pixels.
    """
    known = truth != ignore
    flat = truth[known].astype(np.int64) * (n_labels + 1) + predicted[known]
    return np.bincount(flat, minlength=(n_labels + 1) ** 2).reshape(n_labels + 1, n_labels + 1)


def truth_in_cells(
    truth: np.ndarray, n_rows: int, n_columns: int, area_px: tuple[float, float, float, float], n_labels: int
) -> np.ndarray:
    """Count the truth's pixels by the mask cell that covers them, ``(R, Q, L + 1)`` int64; 255 is not counted.

    One count serves every threshold, for a pixel has the value of its cell. A pixel belongs to the cell in which its
    centre lies; beyond the mask, to the nearest.

    Args:
        truth: ``(H, W)`` uint8.
        n_rows: R.
        n_columns: Q.
        area_px: the mask's ``x1, y1, x2, y2`` in pixels of the truth.
        n_labels: L.
    """
    x1, y1, x2, y2 = area_px
    rows, columns = (np.arange(side) + 0.5 for side in truth.shape)
    row = ((rows - y1) / (y2 - y1) * n_rows).astype(int).clip(0, n_rows - 1)
    column = ((columns - x1) / (x2 - x1) * n_columns).astype(int).clip(0, n_columns - 1)
    known = truth != 255
    cell = row[:, None] * n_columns + column
    flat = cell[known] * (n_labels + 1) + truth[known]
    return np.bincount(flat, minlength=n_rows * n_columns * (n_labels + 1)).reshape(n_rows, n_columns, n_labels + 1)


def confusion_of_cells(cells: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Return `confusion` of a mask ``(R, Q)`` spread over its pixels, which `truth_in_cells` counted; 255 says none."""
    n = truths.shape[2]
    values = np.where(cells == 255, 0, cells)
    return np.stack([truths[values == k].sum(axis=0) for k in range(n)], axis=1)


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


def mean_iou(counts: np.ndarray) -> float:
    """Return the mean intersection over union of the labels that occur, without the background; nan of none."""
    scores = iou_of_labels(counts)[1:]
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")

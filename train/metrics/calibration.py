"""Whether a score of 0.8 means right in eight of ten: the reliability table and its one figure."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose score lies in [low, high): how many, their mean score, and the share that was right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def _bin_of(scores: np.ndarray, n_bins: int) -> np.ndarray:
    return np.minimum((np.asarray(scores, float) * n_bins).astype(int), n_bins - 1)


def reliability(scores: np.ndarray, right: np.ndarray, n_bins: int = 10) -> list[Bin]:
    """Return the bins that hold anything, of equal width over [0, 1], the last one closed.

    Args:
        scores: ``(n,)`` in [0, 1].
        right: ``(n,)`` bool.
        n_bins: how many bins.
    """
    where, right = _bin_of(scores, n_bins), np.asarray(right, float)
    return [
        Bin(k / n_bins, (k + 1) / n_bins, int(at.sum()), float(np.mean(scores[at])), float(right[at].mean()))
        for k in range(n_bins)
        if (at := where == k).any()
    ]


def calibration_error(scores: np.ndarray, right: np.ndarray, counted: np.ndarray, n_bins: int = 10) -> float:
    """Return the expected calibration error in [0, 1]: the mean over answers of their bin's gap.

    Args:
        scores: ``(n,)`` in [0, 1].
        right: ``(n,)`` bool.
        counted: ``(n,)`` how often each answer counts.
        n_bins: how many bins.

    Source: Naeini, Cooper and Hauskrecht 2015, AAAI.
    """
    if not counted.sum():
        return float("nan")
    gap = np.bincount(_bin_of(scores, n_bins), counted * (np.asarray(right, float) - scores), minlength=n_bins)
    return float(np.abs(gap).sum() / counted.sum())

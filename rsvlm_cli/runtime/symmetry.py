"""The eight symmetries of the square: an overhead picture has no upright.

A model may be shown a picture in several of them, and its probabilities averaged over what it says of each (test-time
augmentation). Number t is t % 4 quarter turns to the left, and from 4 on a left-right mirroring after them.
"""

import numpy as np

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Of N symmetries the first N are taken."""


def turn(array: np.ndarray, symmetry: int) -> np.ndarray:
    """Apply a symmetry to the first two axes, ``(H, W, ...)``; a view, not a copy."""
    turned = np.rot90(array, symmetry % 4)
    return turned[:, ::-1] if symmetry >= 4 else turned


def turn_back(array: np.ndarray, symmetry: int) -> np.ndarray:
    """Undo `turn`."""
    return np.rot90(array[:, ::-1] if symmetry >= 4 else array, -(symmetry % 4))

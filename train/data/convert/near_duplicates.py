"""Which images look alike, by difference hash.

Axes: N images, K bits.
"""

import numpy as np
from PIL import Image

SIDE = 16


def difference_hash(image: Image.Image) -> np.ndarray:
    """Return the ``(256,)`` bool difference hash: whether brightness rises from a cell to its right neighbour."""
    small = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), np.int16)
    return (small[:, 1:] > small[:, :-1]).ravel()


def group_near_duplicates(hashes: np.ndarray, max_distance: int) -> list[int]:
    """Join images whose hashes differ in few bits, and whatever is joined through a third.

    Args:
        hashes: ``(N, K)`` bool.
        max_distance: number of bits up to which two images are joined.

    Returns:
        For each image the first image of its group.
    """
    group = list(range(len(hashes)))
    bits = hashes.astype(np.float32)
    # Bits set in one of the two only: |a| + |b| - 2 a.b
    n_set = bits.sum(axis=1)
    distance = n_set[:, None] + n_set[None, :] - 2 * bits @ bits.T
    for i, j in np.argwhere(np.triu(distance <= max_distance, k=1)):
        first, second = sorted((group[i], group[j]))
        if first != second:
            group = [first if member == second else member for member in group]
    return group

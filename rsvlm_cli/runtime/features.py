"""Pictures as the decoder sees them, and what its cache knows a fed vector by."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

_vectors_made = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Pictures as the decoder sees them, for any number of prompts.

    Attributes:
        vectors: ``(n_images, tokens, hidden)`` float32.
        keys: ``(n_images, tokens)`` int64 below 0, by which the decoder's cache knows each vector again.
        seen: what the tower's heads say of each picture, by the names of `HEADS`; empty for a model without.
    """

    vectors: np.ndarray
    keys: np.ndarray
    seen: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, vectors: np.ndarray, seen: Mapping[str, np.ndarray] = MappingProxyType({})) -> "ImageFeatures":
        """Give vectors ``(n_images, tokens, hidden)`` their keys."""
        n = vectors.shape[0] * vectors.shape[1]
        keys = np.array([-1 - next(_vectors_made) for _ in range(n)], np.int64)
        return cls(vectors, keys.reshape(vectors.shape[:2]), seen)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def n_bytes(self) -> int:
        """What is kept of them in memory."""
        return self.vectors.nbytes + self.keys.nbytes + sum(values.nbytes for values in self.seen.values())

    def join(self, later: "ImageFeatures") -> "ImageFeatures":
        """Put these pictures into one prompt with others that were encoded after them."""
        seen = {name: np.concatenate([values, later.seen[name]]) for name, values in self.seen.items()}
        keys = np.concatenate([self.keys, later.keys])
        return ImageFeatures(np.concatenate([self.vectors, later.vectors]), keys, seen)

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """Return the vectors ``(n, hidden)`` of keys ``(n,)``."""
        # Keys fall from vector to vector, in the order of encoding.
        return self.vectors.reshape(-1, self.vectors.shape[2])[np.searchsorted(-self.keys.ravel(), -keys)]


HEADS = {"scenes": ("scene",), "objects": ("centres", "boxes")}
"""What a tower with heads says of a picture beside its vectors, by the kind of words they know (`tasks.heads`)."""

MARK_GAIN = 8.0
"""Token embeddings are an order smaller than visual tokens; so much larger, marks are heard beside them."""

MARK_EPS = 1e-6
"""Beside the mean square of a mark."""

MARK_TOKENS = 6
"""Of a mark no more tokens are taken."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A visual token that is fed once more, to be read there.

    Attributes:
        token: which, row by row from the upper left.
        marks: texts; the mark is the sum of the embeddings of their first `MARK_TOKENS` tokens.
    """

    token: int
    marks: tuple[str, ...] = ()


def spot_vector(seen: np.ndarray, mark: np.ndarray) -> np.ndarray:
    """Return what is fed at a spot, ``(hidden,)`` float32.

    The mark is added, for the decoder to know what is asked for, and so is its product with the visual token: of that,
    one linear reads how far the two agree.

    Args:
        seen: the visual token, of two pictures the difference.
        mark: the sum of the marks' embeddings.
    """
    unit = mark / np.sqrt(np.square(mark).mean() + MARK_EPS)
    vector: np.ndarray = seen * (1 + unit) + MARK_GAIN * mark
    return vector


Key = int | tuple[int, ...]
"""What the decoder's cache knows a fed vector by; a tuple is a spot: its visual tokens (below 0) and its marks."""

"""Pictures as the decoder sees them, and what its cache knows a fed vector by."""

import itertools
from dataclasses import dataclass

import numpy as np

_vectors_made = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Pictures as the decoder sees them, for any number of prompts.

    Attributes:
        vectors: ``(n_images, tokens, hidden)`` float32.
        keys: ``(n_images, tokens)`` int64 below 0, by which the decoder's cache knows each vector again.
    """

    vectors: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> "ImageFeatures":
        """Give vectors ``(n_images, tokens, hidden)`` their keys."""
        n = vectors.shape[0] * vectors.shape[1]
        keys = np.array([-1 - next(_vectors_made) for _ in range(n)], np.int64)
        return cls(vectors, keys.reshape(vectors.shape[:2]))

    def __len__(self) -> int:
        return len(self.vectors)

    def join(self, later: "ImageFeatures") -> "ImageFeatures":
        """Put these pictures into one prompt with others that were encoded after them."""
        return ImageFeatures(np.concatenate([self.vectors, later.vectors]), np.concatenate([self.keys, later.keys]))

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """Return the vectors ``(n, hidden)`` of keys ``(n,)``."""
        # Keys fall from vector to vector, in the order of encoding.
        return self.vectors.reshape(-1, self.vectors.shape[2])[np.searchsorted(-self.keys.ravel(), -keys)]


MARK_GAIN = 8.0
"""Token embeddings are an order smaller than visual tokens; so much larger, marks are heard beside them."""

MARK_TOKENS = 6
"""Of a mark no more tokens are taken."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A visual token that is fed once more, to be read there.

    Attributes:
        token: which, row by row from the upper left.
        marks: texts; the sum of the embeddings of their first `MARK_TOKENS` tokens is added, times `MARK_GAIN`.
    """

    token: int
    marks: tuple[str, ...] = ()


Key = int | tuple[int, ...]
"""What the decoder's cache knows a fed vector by; a tuple is a spot: its visual tokens (below 0) and its marks."""

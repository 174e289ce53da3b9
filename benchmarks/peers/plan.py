"""What every contender does, and on what; known to the command and to each contender's process.

Light to import: what is imported here counts in every contender's memory.
"""

from typing import Protocol

import numpy as np

PICTURE, TEXT = 730, "#2(N]q/Y;5Z0+d.Kx?Vw|E!r9^bT<m"
"""The prompt: one picture's vectors, then 30 characters, each a token of its own in the stand-in tokenizer."""

PROMPT = PICTURE + len(TEXT)
REPLY = 32
SIDE_PX = 384
CHOICES = range(94)
"""Token numbers of the printable ASCII characters, ``!`` first, in the stand-in tokenizer."""

TEXT_IDS = tuple(ord(letter) - ord("!") for letter in TEXT)
VISUAL_TOKENS, EVERY = 729, 2551
"""Rows of a tower's output that are compared, and every so many-th value of them; no divisor of a row's length."""


class Decoder(Protocol):
    """A language model that was just opened."""

    def prefill(self) -> None:
        """Forget everything, then compute `PROMPT` tokens and choose the next one."""

    def decode(self) -> int:
        """Right after `prefill`: compute about `REPLY` tokens one at a time; returns how many."""

    def scores(self) -> np.ndarray:
        """Return how it rates each of `CHOICES` after `TEXT` alone, up to a constant."""


class Tower(Protocol):
    """A vision tower with its projector that was just opened."""

    def encode(self, tile: np.ndarray) -> np.ndarray:
        """Turn a tile ``(384, 384, 3)`` uint8 into vectors ``(729 or 730, hidden)`` float32."""


def prompt_ids() -> np.ndarray:
    """Return `PROMPT` token numbers, those of a picture's place being any."""
    return np.concatenate([np.random.default_rng(0).integers(0, 150_000, PICTURE), TEXT_IDS])


def make_tile() -> np.ndarray:
    """Return a tile ``(384, 384, 3)`` uint8 of noise in patches of 16 px."""
    return np.kron(np.random.default_rng(0).integers(0, 256, (24, 24, 3)), np.ones((16, 16, 1))).astype(np.uint8)


def normalise(tile: np.ndarray) -> np.ndarray:
    """Return a tile as SigLIP wants it: ``(1, 3, 384, 384)`` float32 in [-1, 1]."""
    return np.ascontiguousarray((tile.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None])

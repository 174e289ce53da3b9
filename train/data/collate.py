"""Views to tensors: pictures, dense targets for the tower, and packed sequences for the decoder.

Packing: a sequence is one view's image prefix followed by several turns of one granularity. Each turn sees the prefix
and itself, never another turn, and its positions go on from the prefix: the loss equals that of the turns one by one,
and the image is read once.

Axes: V views, N images, G mask cells a side, L labels, B sequences, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from model.config import LabelSets
from model.vlm import IMAGE_SLOT
from rsvlm_cli.runtime.features import MARK_TOKENS
from rsvlm_cli.runtime.preprocess import normalise
from rsvlm_cli.tasks.cells import BLOCKS, REACHES, SIDE_MARKS, blocks_of, spot_of
from rsvlm_cli.tasks.dialect import BoxStyle, Dialect, Granularity, MaskStyle
from train.data.conversations import Turn
from train.data.views import View
from train.tokenizer import TextCodec

IGNORE = -100

BOX_WEIGHT = 8.0
"""Loss weight of one box's four sides; a "yes" and its end weigh 1.4."""

MEAN = STD = (0.5, 0.5, 0.5)
"""Of the pictures' channels, as in SigLIP; what `export.pack.Card` takes where a card names none."""


def stack_pixels(views: Sequence[View]) -> Tensor:
    """Return every view's pictures, ``(N, 3, S, S)`` float32 in [-1, 1], a pair's two beside each other."""
    return torch.from_numpy(np.stack([normalise(p, MEAN, STD) for view in views for p in view.pixels]))


# --- dense targets ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DenseTargets:
    """What the tower's heads should say; NaN means unknown.

    Attributes:
        images_of: ``(V,)`` index of each view's first image.
        scene: ``(V,)`` int64 class, or `IGNORE`.
        coverage: ``(V, L_masks, G, G)`` in [0, 1].
        centres: ``(V, L_objects, G, G)`` in [0, 1], a bump at each object's centre.
        boxes: ``(K, 7)``: view, row, column, then dx, dy (centre within its cell, [0, 1]), log2 of width and height in
            cells.
        pairs: ``(P,)`` views that show two dates.
        change: ``(P, G, G)`` in [0, 1].
    """

    images_of: Tensor
    scene: Tensor
    coverage: Tensor
    centres: Tensor
    boxes: Tensor
    pairs: Tensor
    change: Tensor


def dense_targets(views: Sequence[View], labels: LabelSets, grid: int) -> DenseTargets:
    """Rasterise what is known of each view."""
    scene_index = {label: i for i, label in enumerate(labels.scenes)}
    object_index = {label: i for i, label in enumerate(labels.objects)}
    mask_index = {label: i for i, label in enumerate(labels.masks)}
    coverage = np.full((len(views), len(labels.masks), grid, grid), np.nan, np.float32)
    centres = np.full((len(views), len(labels.objects), grid, grid), np.nan, np.float32)
    boxes: list[list[float]] = []
    for v, view in enumerate(views):
        if len(view.pixels) == 2:
            continue
        for label, share in view.coverage.items():
            if label in mask_index:
                coverage[v, mask_index[label]] = share
        for label in view.complete & object_index.keys():
            centres[v, object_index[label]] = 0
        spots = [(label, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1) for label, (x1, y1, x2, y2) in view.boxes]
        spots += [(label, x, y, 0.0, 0.0) for label, x, y in view.points]
        for label, x, y, w, h in spots:
            row, column = min(int(y * grid), grid - 1), min(int(x * grid), grid - 1)
            if w:
                fine = [x * grid - column, y * grid - row, np.log2(max(w * grid, 0.1)), np.log2(max(h * grid, 0.1))]
                boxes.append([v, row, column, *fine])
            if label in view.complete and label in object_index:
                _bump(centres[v, object_index[label]], x * grid, y * grid, max(0.7, 0.12 * min(w, h) * grid))
    pairs = [v for v, view in enumerate(views) if len(view.pixels) == 2]
    change = [
        np.max(list(views[v].coverage.values()), 0) if views[v].coverage else np.full((grid, grid), np.nan)
        for v in pairs
    ]
    counts = [len(view.pixels) for view in views]
    return DenseTargets(
        images_of=torch.tensor(np.cumsum([0, *counts[:-1]])),
        scene=torch.tensor([scene_index.get(view.record.scene or "", IGNORE) for view in views]),
        coverage=torch.from_numpy(coverage),
        centres=torch.from_numpy(centres),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 7),
        pairs=torch.tensor(pairs, dtype=torch.int64),
        change=torch.from_numpy(np.stack(change).astype(np.float32)) if change else torch.empty(0, grid, grid),
    )


def _bump(heat: np.ndarray, x: float, y: float, sigma: float) -> None:
    """Raise ``heat`` to a Gaussian of height 1 at the cell of (x, y), both in cells."""
    row, column = min(int(y), heat.shape[0] - 1), min(int(x), heat.shape[1] - 1)
    yy, xx = np.ogrid[: heat.shape[0], : heat.shape[1]]
    np.maximum(heat, np.exp(-((yy - row) ** 2 + (xx - column) ** 2) / (2 * sigma**2)), out=heat)


# --- packed turns -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Packed:
    """Sequences of one granularity, padded at the right.

    Attributes:
        granularity: which expert set.
        images: ``(K,)`` indices of the images whose vectors fill the slots, in order.
        ends: ``(B, 2)`` indices of each sequence's first and last image.
        ids: ``(B, T)`` int64, `IMAGE_SLOT` at image vectors.
        positions: ``(B, T)`` int64.
        segments: ``(B, T)`` int64: 0 prefix, 1, 2, ... turns and boxes, -1 padding.
        parents: ``(B, T)`` int64: the segment that a token sees beside the prefix and its own: of a box, its turn.
        labels: ``(B, T)`` int64: the token that should follow, or `IGNORE`.
        weights: ``(B, T)`` float32, the loss weight of what is said here.
        cells: ``(B, T)`` int64: the visual token that is read here, or -1.
        marks: ``(B, T, M)`` int64: tokens added to it, or -1.
        blocks: ``(B, T)`` int64: index into `BLOCKS` that should be read here, or `IGNORE`.
        reach: ``(B, T)`` float32 in [0, 100]: what of `REACHES` should be read here, or NaN.
    """

    granularity: Granularity
    images: Tensor
    ends: Tensor
    ids: Tensor
    positions: Tensor
    segments: Tensor
    parents: Tensor
    labels: Tensor
    weights: Tensor
    cells: Tensor
    marks: Tensor
    blocks: Tensor
    reach: Tensor


def isolation_mask(segments: Tensor, parents: Tensor) -> Tensor:
    """Return ``(B, 1, T, T)`` bool: a token sees itself and earlier tokens of prefix, own segment and its parent."""
    seen = segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    return (((segments[:, :, None] == seen) | (parents[:, :, None] == seen) | (seen == 0)) & causal)[:, None]


@dataclass(slots=True)
class _Sequence:
    """One sequence as it grows: columns named as in `Packed`, and what fills each beyond its end."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    marks: list[tuple[int, ...]] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    reach: list[float] = field(default_factory=list)

    def add(self, n: int, start: int, segment: int, parent: int, **columns: Sequence[object]) -> None:
        """Append ``n`` tokens from position ``start`` on; a column that is not given holds its fill."""
        given = {"positions": range(start, start + n), "segments": [segment] * n, "parents": [parent] * n} | columns
        for name, (fill, _) in FILLS.items():
            getattr(self, name).extend(given.get(name, [fill] * n))


FILLS: dict[str, tuple[object, type]] = {
    "ids": (0, np.int64),
    "positions": (0, np.int64),
    "segments": (-1, np.int64),
    "parents": (-1, np.int64),
    "labels": (IGNORE, np.int64),
    "weights": (0.0, np.float32),
    "cells": (-1, np.int64),
    "marks": ((-1,) * (MARK_TOKENS + 2), np.int64),
    "blocks": (IGNORE, np.int64),
    "reach": (np.nan, np.float32),
}


class Packer:
    """Turns to packed sequences."""

    def __init__(self, codec: TextCodec, dialect: Dialect, image_tokens: int) -> None:
        self.codec, self.dialect, self.image_tokens = codec, dialect, image_tokens
        reads = dialect.mask_style is MaskStyle.CELLS or dialect.box_style is BoxStyle.REACH
        self.block_ids = torch.tensor([self._token(text) for text in BLOCKS] if reads else [], dtype=torch.int64)
        self.reach_ids = torch.tensor([self._token(text) for text in REACHES] if reads else [], dtype=torch.int64)

    def pack(self, granularity: Granularity, rows: Sequence[tuple[int, int, Sequence[Turn]]]) -> Packed:
        """Pack one granularity's turns.

        Args:
            granularity: of all of them.
            rows: for each sequence the index of its view's first image, its number of images (1 or 2), and its turns.
        """
        sequences = [self._sequence(n_images, turns) for _, n_images, turns in rows]
        length = max(len(sequence.ids) for sequence in sequences)
        columns: dict[str, Tensor] = {}
        for name, (fill, dtype) in FILLS.items():
            lists = [getattr(sequence, name) for sequence in sequences]
            columns[name] = torch.from_numpy(np.array([row + [fill] * (length - len(row)) for row in lists], dtype))
        images = [first + k for first, n_images, _ in rows for k in range(n_images)]
        ends = [(first, first + n_images - 1) for first, n_images, _ in rows]
        return Packed(granularity, torch.tensor(images), torch.tensor(ends), **columns)

    def silence(self, granularity: Granularity) -> Packed:
        """Return a sequence of one token that looks at no image and counts for nothing."""
        sequence = _Sequence()
        sequence.add(1, 0, 0, 0, ids=[self.codec.stop])
        columns = {
            name: torch.from_numpy(np.array([getattr(sequence, name)], dtype)) for name, (_, dtype) in FILLS.items()
        }
        return Packed(granularity, torch.empty(0, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64), **columns)

    def _sequence(self, n_images: int, turns: Sequence[Turn]) -> _Sequence:
        before, after = self.dialect.wrap("\0", n_images=n_images).split("\0")
        chunks = before.split(self.dialect.image_token)
        prefix: list[int] = []
        for chunk in chunks[:-1]:
            prefix += [*self.codec.encode(chunk), *[IMAGE_SLOT] * self.image_tokens]
        sequence = _Sequence()
        sequence.add(len(prefix), 0, 0, 0, ids=prefix)
        number = 0
        for turn in turns:
            number += 1
            question = self.codec.encode(chunks[-1] + turn.user + after)
            if turn.cells is None:
                self._add_text(sequence, len(prefix), number, question, turn.reply)
            else:
                number = self._add_cells(sequence, len(prefix), number, question, turn)
        return sequence

    def _add_text(self, sequence: _Sequence, start: int, number: int, question: list[int], reply_text: str) -> None:
        reply = [*self.codec.encode(reply_text), self.codec.stop]
        # The last reply token predicts nothing, so it is not fed.
        fed, silent = question + reply[:-1], len(question) - 1
        labels, weights = [IGNORE] * silent + reply, [0.0] * silent + [len(reply) ** -0.5] * len(reply)
        sequence.add(len(fed), start, number, number, ids=fed, labels=labels, weights=weights)

    def _add_cells(self, sequence: _Sequence, start: int, number: int, question: list[int], turn: Turn) -> int:
        """Append a turn that is read cell by cell, and boxes read from some of its cells; return its last segment."""
        assert turn.cells is not None
        blocks = np.where((index := blocks_of(turn.cells)) < 0, IGNORE, index).tolist()
        n = len(blocks)
        sequence.add(len(question), start, number, number, ids=question)
        # A mask should count for more than a "yes", but not 150 times more.
        sequence.add(
            n,
            start + len(question),
            number,
            number,
            cells=range(n),
            marks=[self._marks(turn.phrase)] * n,
            blocks=blocks,
            weights=[n**-0.5] * n,
        )
        last = number
        for row, column, reach in turn.spots:
            last += 1
            cell, corner = spot_of(row, column, len(turn.cells))
            marks = [self._marks(turn.phrase, corner, side) for side in SIDE_MARKS]
            start_of_box = start + len(question) + n
            sequence.add(
                4, start_of_box, last, number, cells=[cell] * 4, marks=marks, reach=reach, weights=[BOX_WEIGHT / 4] * 4
            )
        return last

    def _marks(self, *texts: str) -> tuple[int, ...]:
        tokens = [token for text in texts for token in self.codec.encode(text)[:MARK_TOKENS]]
        return (*tokens, *[-1] * (MARK_TOKENS + 2 - len(tokens)))

    def _token(self, text: str) -> int:
        (token,) = self.codec.encode(text)
        return token

"""Views to tensors: pictures, dense targets for the tower, and packed sequences for the decoder.

Packing: a sequence is one view's image prefix followed by several turns of one granularity. Each turn sees the prefix
and itself, never another turn, and its positions go on from the prefix: the loss equals that of the turns one by one,
and the image is read once.

Axes: V views, N images, G mask cells a side, L labels, B sequences, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.vlm import IMAGE_SLOT
from rsvlm_cli.runtime.preprocess import normalise
from rsvlm_cli.tasks.dialect import Dialect, Granularity
from train.config import LabelSets
from train.data.conversations import Turn
from train.data.views import View
from train.tokenizer import TextCodec

IGNORE = -100

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
        ids: ``(B, T)`` int64, `IMAGE_SLOT` at image vectors.
        images: ``(K,)`` indices of the images whose vectors fill the slots, in order.
        positions: ``(B, T)`` int64.
        segments: ``(B, T)`` int64: 0 prefix, 1, 2, ... turns, -1 padding.
        labels: ``(B, T)`` int64: the token that should follow, or `IGNORE`.
        weights: ``(B, T)`` float32, the loss weight of each label.
    """

    granularity: Granularity
    ids: Tensor
    images: Tensor
    positions: Tensor
    segments: Tensor
    labels: Tensor
    weights: Tensor


def isolation_mask(segments: Tensor) -> Tensor:
    """Return ``(B, 1, T, T)`` bool: a token sees earlier tokens of the prefix and of its own turn, and itself."""
    own = segments[:, :, None] == segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    return ((own | (segments == 0)[:, None, :]) & causal)[:, None]


class Packer:
    """Turns to packed sequences."""

    def __init__(self, codec: TextCodec, dialect: Dialect, image_tokens: int) -> None:
        self.codec, self.dialect, self.image_tokens = codec, dialect, image_tokens

    def pack(self, granularity: Granularity, rows: Sequence[tuple[int, int, Sequence[Turn]]]) -> Packed:
        """Pack one granularity's turns.

        Args:
            granularity: of all of them.
            rows: for each sequence the index of its view's first image, its number of images (1 or 2), and its turns.
        """
        sequences = [self._sequence(n_images, turns) for _, n_images, turns in rows]
        length = max(len(sequence[0]) for sequence in sequences)
        fills = (0, 0, -1, IGNORE, 0.0)
        padded = [
            np.stack(
                [np.pad(sequence[k], (0, length - len(sequence[k])), constant_values=fill) for sequence in sequences]
            )
            for k, fill in enumerate(fills)
        ]
        ids, positions, segments, labels, weights = (torch.from_numpy(array) for array in padded)
        images = [first + k for first, n_images, _ in rows for k in range(n_images)]
        return Packed(granularity, ids, torch.tensor(images), positions, segments, labels, weights)

    def _sequence(self, n_images: int, turns: Sequence[Turn]) -> tuple[np.ndarray, ...]:
        before, after = self.dialect.wrap("\0", n_images=n_images).split("\0")
        chunks = before.split(self.dialect.image_token)
        prefix: list[int] = []
        for chunk in chunks[:-1]:
            prefix += [*self.codec.encode(chunk), *[IMAGE_SLOT] * self.image_tokens]
        ids, positions, segments = list(prefix), list(range(len(prefix))), [0] * len(prefix)
        labels, weights = [IGNORE] * len(prefix), [0.0] * len(prefix)
        for number, turn in enumerate(turns, start=1):
            question = self.codec.encode(chunks[-1] + turn.user + after)
            reply = [*self.codec.encode(turn.reply), self.codec.stop]
            # The last reply token predicts nothing, so it is not fed.
            fed = question + reply[:-1]
            ids += fed
            positions += range(len(prefix), len(prefix) + len(fed))
            segments += [number] * len(fed)
            labels += [IGNORE] * (len(question) - 1) + reply
            # A long mask should count for more than a "yes", but not 150 times more.
            weights += [0.0] * (len(question) - 1) + [len(reply) ** -0.5] * len(reply)
        return (*(np.array(x, np.int64) for x in (ids, positions, segments, labels)), np.array(weights, np.float32))

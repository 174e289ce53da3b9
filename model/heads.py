"""Dense heads of the vision tower, and how the decoder hears of what they see.

A small tower learns to see by dense targets sooner than by words, and a small decoder learns to say what is given to it
in few clear signals sooner than what lies among the many of a visual token. So the tower's heads stay with the model:
the probability of each class in each cell, put through one linear, is added to the visual token of these cells, and
that of each scene class to the picture's newline vector (docs/adr/0018).

Axes: N images, P visual tokens, C width of the tower, D width of the decoder.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import LabelSets

CELLS = 4
"""Cells of a token, 2 x 2, row by row; each head speaks for each of them."""

SIDES = 4
"""What a cell says of a box: dx, dy (centre within the cell, [0, 1]), log2 of width and height in cells."""

PRIOR = -4.0
"""Logit from which centres start: objects are rare, or the first steps are spent unlearning one half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the heads say of pictures; a token's values are label by label within cell by cell.

    Attributes:
        tokens: normalised, ``(N, P, C)``.
        scene: logits ``(N, scenes)``.
        coverage: logits ``(N, P, CELLS * masks)`` of the share of a cell that a class covers.
        centres: logits ``(N, P, CELLS * objects)`` of an object's centre.
        boxes: ``(N, P, CELLS * SIDES)``.
    """

    tokens: Tensor
    scene: Tensor
    coverage: Tensor
    centres: Tensor
    boxes: Tensor


def _linear(n_in: int, n_out: int, *, bias: bool = True) -> nn.Linear:
    """Return a linear that may have no rows or columns: a model need not know every kind of label."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors", UserWarning)
        return nn.Linear(n_in, n_out, bias=bias)


class DenseHeads(nn.Module):
    """Linear readers of the tower's tokens."""

    def __init__(self, width: int, labels: LabelSets) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scene = _linear(width, len(labels.scenes))
        self.coverage = _linear(width, CELLS * len(labels.masks))
        self.centres = _linear(width, CELLS * len(labels.objects))
        self.boxes = nn.Linear(width, CELLS * SIDES)
        nn.init.constant_(self.centres.bias, PRIOR)

    def forward(self, tokens: Tensor) -> Seen:
        """Read the tower's output ``(N, P, C)``."""
        x = self.norm(tokens.float())
        return Seen(
            tokens=x,
            scene=self.scene(x.mean(1)),
            coverage=self.coverage(x),
            centres=self.centres(x),
            boxes=self.boxes(x),
        )


class Evidence(nn.Module):
    """Says in the decoder's space what the heads see."""

    def __init__(self, width: int, labels: LabelSets) -> None:
        super().__init__()
        told = CELLS * (len(labels.masks) + len(labels.objects))
        self.cells = nn.Linear(told + CELLS * SIDES, width, bias=False)
        self.scene = _linear(len(labels.scenes), width, bias=False)
        # A class that is surely there should be about as loud as the visual token that it is added to.
        nn.init.normal_(self.cells.weight[:, :told], std=0.25)
        nn.init.normal_(self.cells.weight[:, told:], std=0.03)
        nn.init.normal_(self.scene.weight, std=0.25)

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return what is added to visual tokens, ``(N, P, D)``, and to newline vectors, ``(N, 1, D)``."""
        told = torch.cat([seen.coverage.sigmoid(), seen.centres.sigmoid(), seen.boxes], -1)
        return self.cells(told), self.scene(F.softmax(seen.scene, -1))[:, None]

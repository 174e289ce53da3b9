"""Dense heads on the vision tower: they teach it classes, masks, centres and change, and are thrown away at export.

A tower that already sees is what the decoder learns to put into words; by words alone, a small tower hardly learns.

Axes: V views, N images, P visual tokens, g tokens a side, G = 2 g cells a side, C width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.config import LabelSets
from train.data.collate import IGNORE, DenseTargets

CENTRE = 0.999
"""Height of a target from which a cell is the centre of something."""


class TowerHeads(nn.Module):
    """Linear readers of the tower's tokens; each token speaks for 2 x 2 cells."""

    def __init__(self, width: int, labels: LabelSets) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scene = nn.Linear(width, len(labels.scenes))
        self.coverage = nn.Linear(width, 4 * len(labels.masks))
        self.centres = nn.Linear(width, 4 * len(labels.objects))
        self.boxes = nn.Linear(width, 4 * 4)
        self.change = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, 4))
        # Objects are rare: start from a low prior, or the first steps are spent unlearning one half.
        nn.init.constant_(self.centres.bias, -4.0)

    def forward(self, tokens: Tensor, targets: DenseTargets) -> dict[str, Tensor]:
        """Return the sum of each head's losses; `counts` says what of.

        Every head takes part in every call, if only with an empty sum: processes that share it must stay in step.

        Args:
            tokens: the tower's output, ``(N, P, C)``.
            targets: of the same batch.
        """
        x = self.norm(tokens.float())
        first = x[targets.images_of]
        after, before = x[targets.images_of[targets.pairs] + 1], first[targets.pairs]
        view, row, column = targets.boxes[:, :3].long().unbind(1)
        covered, centred, changed = (t.isfinite() for t in (targets.coverage, targets.centres, targets.change))
        seen = to_cells(self.boxes(first))[view, :, row, column]
        change = to_cells(self.change(torch.cat([before, after, after - before], -1)))[:, 0]
        said = self.scene(first.mean(1))
        # Smoothed over no class at all, the loss would be no number.
        scene = said.sum()
        if said.shape[1]:
            scene = F.cross_entropy(said, targets.scene, ignore_index=IGNORE, label_smoothing=0.05, reduction="sum")
        return {
            "scene": scene,
            "coverage": F.binary_cross_entropy_with_logits(
                to_cells(self.coverage(first))[covered], targets.coverage[covered], reduction="sum"
            ),
            "centres": focal_loss(to_cells(self.centres(first))[centred], targets.centres[centred]),
            "boxes": F.smooth_l1_loss(seen, targets.boxes[:, 3:], reduction="sum"),
            "change": F.binary_cross_entropy_with_logits(change[changed], targets.change[changed], reduction="sum"),
        }

    @staticmethod
    def counts(targets: DenseTargets) -> dict[str, int]:
        """Return how many targets each head has; of centres, how many there are."""
        return {
            "scene": int((targets.scene != IGNORE).sum()),
            "coverage": int(targets.coverage.isfinite().sum()),
            "centres": int((targets.centres >= CENTRE).sum()),
            "boxes": targets.boxes[:, 3:].numel(),
            "change": int(targets.change.isfinite().sum()),
        }


def to_cells(x: Tensor) -> Tensor:
    """Spread ``(V, P, 4 L)`` over cells: ``(V, L, G, G)``; a token's four values are its 2 x 2 cells, row by row."""
    v, p, width = x.shape
    g = round(p**0.5)
    x = x.view(v, g, g, 2, 2, width // 4)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(v, width // 4, 2 * g, 2 * g)


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the sum of the centre-point focal loss, to be divided by the number of centres.

    Source: Objects as Points, arXiv:1904.07850, equation 1, alpha 2 and beta 4.
    """
    p = torch.sigmoid(logits)
    hit = target >= CENTRE
    positive = (1 - p) ** 2 * F.logsigmoid(logits) * hit
    negative = (1 - target) ** 4 * p**2 * F.logsigmoid(-logits) * ~hit
    return -(positive + negative).sum()

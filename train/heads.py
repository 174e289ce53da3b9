"""What the tower's dense heads (`model.heads`) learn from: classes, masks, centres, boxes and change.

The head of change stays here: the decoder compares two dates by itself.

Axes: V views, N images, P visual tokens, g tokens a side, G = 2 g cells a side, C width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.heads import Seen
from train.data.collate import IGNORE, DenseTargets

CENTRE = 0.999
"""Height of a target from which a cell is the centre of something."""


class HeadLosses(nn.Module):
    """The losses of the heads, and one more head for two dates."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, 4))

    def forward(self, seen: Seen, targets: DenseTargets) -> dict[str, Tensor]:
        """Return the sum of each head's losses; `counts` says what of.

        Every head takes part in every call, if only with an empty sum: processes that share it must stay in step.

        Args:
            seen: what the heads say of the batch's pictures.
            targets: of the same batch.
        """
        first = targets.images_of
        before, after = seen.tokens[first[targets.pairs]], seen.tokens[first[targets.pairs] + 1]
        view, row, column = targets.boxes[:, :3].long().unbind(1)
        covered, centred, changed = (t.isfinite() for t in (targets.coverage, targets.centres, targets.change))
        boxes = to_cells(seen.boxes[first])[view, :, row, column]
        change = to_cells(self.change(torch.cat([before, after, after - before], -1)))[:, 0]
        said = seen.scene[first]
        # Smoothed over no class at all, the loss would be no number.
        scene = said.sum()
        if said.shape[1]:
            scene = F.cross_entropy(said, targets.scene, ignore_index=IGNORE, label_smoothing=0.05, reduction="sum")
        return {
            "scene": scene,
            "coverage": F.binary_cross_entropy_with_logits(
                to_cells(seen.coverage[first])[covered], targets.coverage[covered], reduction="sum"
            ),
            "centres": focal_loss(to_cells(seen.centres[first])[centred], targets.centres[centred]),
            "boxes": F.smooth_l1_loss(boxes, targets.boxes[:, 3:], reduction="sum"),
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

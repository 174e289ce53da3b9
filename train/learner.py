"""Model and heads as one module whose forward pass returns sums of losses.

Sums, not means: a batch may be computed in pieces and by several processes, and its loss is the same. What to divide by
is known from the data alone (`counts_of`).

Axes: B sequences, T tokens, N images.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from model.vlm import VLM
from rsvlm_cli.runtime.features import MARK_EPS, MARK_GAIN
from train.config import Stage
from train.data.collate import IGNORE, Packed, Packer, isolation_mask
from train.heads import HeadLosses
from train.steps import Batch

REPLY = "reply"


class Learner(nn.Module):
    """The model, and the dense heads where the recipe has any.

    Args:
        model: the network.
        heads: what the tower's dense heads learn from, or None.
    """

    def __init__(self, model: VLM, heads: HeadLosses | None) -> None:
        super().__init__()
        self.model, self.heads = model, heads

    def forward(self, batch: Batch, stage: Stage, packer: Packer) -> dict[str, Tensor]:
        """Return the sum of each loss over a piece of a batch, by name; a reply's name tells its granularity."""
        tokens = self.model.vision(batch.pixels.contiguous(memory_format=torch.channels_last))
        seen = self.model.heads(tokens) if self.model.heads is not None else None
        sums: dict[str, Tensor] = {}
        if self.heads is not None and seen is not None and stage.heads_weight:
            sums = self.heads(seen, batch.targets)
        if stage.kind == "tower":
            return sums
        features = self.model.project(tokens, seen, stage.image_scale)
        for packed in batch.packed:
            loss, _ = reply_losses(self.model, features, packed, packer, dense=stage.dense)
            sums[f"{REPLY} {packed.granularity.name.lower()}"] = loss
        return sums


def counts_of(batch: Batch) -> dict[str, float]:
    """Return what each sum of `Learner.forward` is divided by: the weights of the replies, the known targets."""
    counts = {name: float(n) for name, n in HeadLosses.counts(batch.targets).items()}
    for packed in batch.packed:
        counts[f"{REPLY} {packed.granularity.name.lower()}"] = float(packed.weights[heard(packed)].sum())
    return counts


def heard(packed: Packed) -> Tensor:
    """Return where something should be said or read, ``(B, T)`` bool."""
    return (packed.labels != IGNORE) | (packed.blocks != IGNORE) | packed.reach.isfinite()


def total_loss(sums: dict[str, Tensor], counts: dict[str, float], stage: Stage) -> Tensor:
    """Return the loss of a piece.

    Args:
        sums: of the piece.
        counts: of the whole batch, over all pieces and processes.
        stage: weighs the heads beside the replies.
    """
    replies = [loss for name, loss in sums.items() if name.startswith(REPLY)]
    heads = [loss / max(counts[name], 1.0) for name, loss in sums.items() if not name.startswith(REPLY)]
    zero = torch.zeros((), device=next(iter(sums.values())).device)
    if stage.kind == "tower":
        return sum(heads, zero)
    weight = sum(n for name, n in counts.items() if name.startswith(REPLY))
    return sum(replies, zero) / max(weight, 1e-6) + stage.heads_weight * sum(heads, zero)


def reply_losses(model: VLM, features: Tensor, packed: Packed, packer: Packer, *, dense: bool) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of one granularity's losses, and the sum of the weights.

    Texts are learnt among all tokens; what is read at a cell, among what can be read there alone.

    Args:
        model: the network.
        features: ``(N, image_tokens, D)``.
        packed: sequences of one granularity.
        packer: knows which tokens are read at cells.
        dense: send them all through expert 0.
    """
    embeds = model.embed(packed.ids, features[packed.images])
    read = packed.cells >= 0
    if read.any():
        spots = model.spots(features, packed.ends, packed.cells.clamp(min=0), packed.marks, MARK_GAIN, MARK_EPS)
        embeds = torch.where(read[..., None], spots.to(embeds.dtype), embeds)
    expert = 0 if dense else int(packed.granularity)
    mask = isolation_mask(packed.segments, packed.parents)
    hidden = model.decoder(embeds, expert, positions=packed.positions, mask=mask)
    table = model.decoder.lm_head.weight
    # Silence has a loss of nothing that still depends on every part, so that all processes stay in step.
    total = hidden.float().sum() * 0
    if (said := packed.labels != IGNORE).any():
        loss = F.cross_entropy(F.linear(hidden[said], table).float(), packed.labels[said], reduction="none")
        total = total + (loss * packed.weights[said]).sum()
    if (said := packed.blocks != IGNORE).any():
        logits = F.linear(hidden[said], table[packer.block_ids]).float()
        loss = F.cross_entropy(logits, packed.blocks[said], reduction="none")
        total = total + (loss * packed.weights[said]).sum()
    if (said := packed.reach.isfinite()).any():
        logits = F.linear(hidden[said], table[packer.reach_ids]).float()
        total = total + (distance_loss(logits, packed.reach[said]) * packed.weights[said]).sum()
    return total, packed.weights[heard(packed)].sum()


def distance_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the loss ``(K,)`` of a distribution ``(K, n)`` over 0 ... n - 1 whose mean should be ``target``.

    Source: distribution focal loss, arXiv:2006.04388, equation 6: the two whole numbers around it share the target.
    """
    low = target.floor().long().clamp(max=logits.shape[1] - 2)
    share = (target - low).clamp(0, 1)
    logprobs = logits.log_softmax(-1)
    return -((1 - share) * logprobs.gather(1, low[:, None])[:, 0] + share * logprobs.gather(1, low[:, None] + 1)[:, 0])


def blocks_of_model(model: VLM) -> list[nn.Module]:
    """Return the transformer blocks, which are checkpointed and sharded one by one."""
    return [*model.vision.layers, *model.decoder.layers]


def checkpoint_blocks(blocks: Iterable[nn.Module]) -> None:
    """Keep only each block's input in the forward pass, and compute the rest once more in the backward pass."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


@torch.no_grad()
def fold_scale(model: VLM, scale: float) -> None:
    """Put `Stage.image_scale` into the projector's last linear."""
    for parameter in model.projector[-1].parameters():
        parameter.mul_(scale)


def copy_expert(model: VLM) -> None:
    """Start every expert from expert 0, as stage 2 of the paper starts from the dense model."""
    for layer in model.decoder.layers:
        first, *others = layer.get_submodule("experts").children()
        for expert in others:
            expert.load_state_dict(first.state_dict())

"""What every step learns from, by step number: views, their dense targets, and packed turns.

A step's views depend on the seed, the stage, the step and their place in the batch, and on nothing else: not on how
many processes share the batch, nor on how many pieces it is computed in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rsvlm_cli.errors import UsageError
from rsvlm_cli.tasks.dialect import Dialect, Granularity, MaskStyle
from train.config import Recipe, Stage
from train.data.collate import DenseTargets, Packed, Packer, dense_targets, stack_pixels
from train.data.conversations import Interviewer, Turn
from train.data.mixture import Corpus, Mixture
from train.data.views import View, ViewLaw
from train.tokenizer import TextCodec

CELLS_PER_TOKEN = 2
"""Cells of a mask along the side of one visual token, where masks are read and not written."""


@dataclass(frozen=True, slots=True)
class Batch:
    """All tensors of one piece of a step; ``packed`` is empty in a tower stage."""

    pixels: Tensor
    targets: DenseTargets
    packed: tuple[Packed, ...]


T = TypeVar("T")


def to_device(value: T, device: torch.device) -> T:
    """Return tensors, tuples and dataclasses of them with every tensor on a device."""
    moved: Any = value
    if isinstance(value, Tensor):
        moved = value.to(device, non_blocking=True)
    elif isinstance(value, tuple):
        moved = tuple(to_device(item, device) for item in value)
    elif is_dataclass(value) and not isinstance(value, type):
        moved = type(value)(*(to_device(getattr(value, field.name), device) for field in fields(value)))
    return moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which pieces of a batch this process computes.

    Attributes:
        rank, size: of this process among those that share the batch.
        pieces: into which each process cuts its part, to save memory.
    """

    rank: int = 0
    size: int = 1
    pieces: int = 1

    def cut(self, batch: int) -> list[range]:
        """Return the places of each piece in a batch.

        Raises:
            UsageError: if a piece would be empty.
        """
        n = self.size * self.pieces
        if batch < n:
            raise UsageError(f"a batch of {batch} views for {self.size} processes of {self.pieces} pieces each")
        edges = [batch * k // n for k in range(n + 1)]
        return [range(edges[k], edges[k + 1]) for k in range(self.rank * self.pieces, (self.rank + 1) * self.pieces)]


@dataclass(frozen=True, slots=True)
class Scale:
    """What depends on the side of the picture."""

    law: ViewLaw
    interviewer: Interviewer
    packer: Packer


class Steps(Dataset[tuple[Batch, ...]]):
    """Batches by step number, in the pieces that one process computes."""

    def __init__(
        self, recipe: Recipe, stage: Stage, corpus: Corpus, dialect: Dialect, codec: TextCodec, share: Share
    ) -> None:
        self.recipe, self.stage, self.share = recipe, stage, share
        self.seed = recipe.seed * 1000 + recipe.stages.index(stage)
        self.mixture = Mixture(corpus, recipe.mix, seed=self.seed)
        self.scales = [self._scale(size_px, dialect, codec) for size_px in stage.sides_px(recipe.vision)]
        self.cuts = share.cut(stage.batch)

    @property
    def packer(self) -> Packer:
        """One of the packers; they differ in the number of visual tokens alone."""
        return self.scales[0].packer

    def _scale(self, size_px: int, dialect: Dialect, codec: TextCodec) -> Scale:
        tokens = size_px // self.recipe.vision.patch_size
        grid = CELLS_PER_TOKEN * tokens if dialect.mask_style is MaskStyle.CELLS else dialect.mask_grid
        return Scale(
            ViewLaw(size_px=size_px, grid=grid), Interviewer(dialect, grid), Packer(codec, dialect, tokens**2 + 1)
        )

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> tuple[Batch, ...]:
        # One side a step: pictures of a batch are one tensor.
        scale = self.scales[int(np.random.default_rng([self.seed, step]).integers(len(self.scales)))]
        return tuple(self._batch(step, places, scale) for places in self.cuts)

    def _batch(self, step: int, places: range, scale: Scale) -> Batch:
        drawn = [self.mixture.view(step, place, scale.law) for place in places]
        views = [view for view, _ in drawn]
        targets = dense_targets(views, self.recipe.labels, scale.law.grid)
        packed: tuple[Packed, ...] = ()
        if self.stage.kind == "instruct":
            packed = self._packed(drawn, targets.images_of.tolist(), scale)
        return Batch(stack_pixels(views), targets, packed)

    def _packed(
        self, drawn: list[tuple[View, np.random.Generator]], firsts: list[int], scale: Scale
    ) -> tuple[Packed, ...]:
        """Let each view speak at one granularity, drawn among those it can speak at."""
        rows: dict[Granularity, list[tuple[int, int, list[Turn]]]] = {g: [] for g in Granularity}
        for (view, rng), first in zip(drawn, firsts, strict=True):
            turns = scale.interviewer.turns(view, rng)
            able = [g for g in sorted({turn.granularity for turn in turns}) if self.stage.granularities[g] > 0]
            if not able:
                continue
            share = np.array([self.stage.granularities[g] for g in able])
            chosen = able[int(rng.choice(len(able), p=share / share.sum()))]
            asked = [turn for turn in turns if turn.granularity is chosen]
            rows[chosen].append((first, len(view.pixels), self._choose(asked, self.stage.max_turns[chosen], rng)))
        if self.share.size > 1:
            # Processes that share one model must run its parts in step, also those they have no turn for.
            return tuple(scale.packer.pack(g, row) if row else scale.packer.silence(g) for g, row in rows.items())
        return tuple(scale.packer.pack(granularity, row) for granularity, row in rows.items() if row)

    def _choose(self, turns: list[Turn], most: int, rng: np.random.Generator) -> list[Turn]:
        if len(turns) <= most:
            return turns
        weight = np.array([self.recipe.turn_weights.get(turn.topic, 1.0) for turn in turns])
        return [turns[i] for i in rng.choice(len(turns), most, replace=False, p=weight / weight.sum())]


def load_ahead(steps: Steps, first: int) -> Iterator[tuple[Batch, ...]]:
    """Yield each step's pieces from step ``first`` on, made ahead by one worker process."""
    yield from DataLoader(steps, batch_size=None, sampler=range(first, len(steps)), num_workers=1, prefetch_factor=8)

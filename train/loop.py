"""The loop: every stage of a recipe, one batch law, resumable at any step.

What a step does depends on the seed, the stage and the step number alone, so a run that was interrupted and resumed
takes the identical next step.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from model.vlm import VLM
from rsvlm_cli.runtime.features import MARK_GAIN
from rsvlm_cli.tasks.dialect import Dialect, Granularity
from train.config import Recipe, Stage
from train.data.collate import IGNORE, DenseTargets, Packed, Packer, dense_targets, isolation_mask, stack_pixels
from train.data.conversations import Interviewer, Turn
from train.data.mixture import Corpus, Mixture
from train.data.views import View, ViewLaw
from train.heads import TowerHeads
from train.tokenizer import TextCodec

log = logging.getLogger(__name__)

SAVE_EVERY_S = 240


@dataclass(frozen=True, slots=True)
class Batch:
    """All tensors of one step; ``packed`` is empty in a tower stage."""

    pixels: Tensor
    targets: DenseTargets
    packed: tuple[Packed, ...]


class Steps(Dataset[Batch]):
    """Batches by step number."""

    def __init__(self, recipe: Recipe, stage: Stage, corpus: Corpus, dialect: Dialect, codec: TextCodec) -> None:
        law = ViewLaw(size_px=recipe.vision.image_size, grid=dialect.mask_grid)
        seed = recipe.seed * 1000 + recipe.stages.index(stage)
        self.recipe, self.stage, self.grid = recipe, stage, dialect.mask_grid
        self.mixture = Mixture(corpus, recipe.weights, law, seed=seed, batch=stage.batch)
        self.interviewer = Interviewer(dialect)
        self.packer = Packer(codec, dialect, recipe.model.image_tokens)

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> Batch:
        views, rng = self.mixture.views(step)
        targets = dense_targets(views, self.recipe.labels, self.grid)
        packed = self._packed(views, targets, rng) if self.stage.kind == "instruct" else ()
        return Batch(stack_pixels(views), targets, packed)

    def _packed(self, views: list[View], targets: DenseTargets, rng: np.random.Generator) -> tuple[Packed, ...]:
        """Let each view speak at one granularity, drawn among those it can speak at."""
        rows: dict[Granularity, list[tuple[int, int, list[Turn]]]] = {g: [] for g in Granularity}
        for view, first in zip(views, targets.images_of.tolist(), strict=True):
            turns = self.interviewer.turns(view, rng)
            able = sorted({turn.granularity for turn in turns})
            if not able:
                continue
            share = np.array([self.stage.granularities[g] for g in able])
            chosen = able[int(rng.choice(len(able), p=share / share.sum()))]
            asked = [turn for turn in turns if turn.granularity is chosen]
            rows[chosen].append((first, len(view.pixels), self._choose(asked, self.stage.max_turns[chosen], rng)))
        return tuple(self.packer.pack(granularity, row) for granularity, row in rows.items() if row)

    def _choose(self, turns: list[Turn], most: int, rng: np.random.Generator) -> list[Turn]:
        if len(turns) <= most:
            return turns
        weight = np.array([self.recipe.turn_weights.get(turn.topic, 1.0) for turn in turns])
        return [turns[i] for i in rng.choice(len(turns), most, replace=False, p=weight / weight.sum())]


@dataclass(slots=True)
class Run:
    """The state of a training run: what a checkpoint holds."""

    model: VLM
    heads: TowerHeads
    optimiser: torch.optim.AdamW | None
    stage: int
    step: int

    def save(self, path: Path) -> None:
        """Write everything, beside the target and renamed."""
        state = {
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimiser": self.optimiser.state_dict() if self.optimiser else None,
            "stage": self.stage,
            "step": self.step,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> dict[str, Any]:
        """Read weights and position; return the optimiser's state for `build_optimiser`."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.stage, self.step = state["stage"], state["step"]
        return state["optimiser"]


def build_optimiser(run: Run, stage: Stage) -> torch.optim.AdamW:
    """Return AdamW over the parts that a stage trains; norms, biases and embeddings do not decay."""
    towers = [run.model.vision, run.heads]
    parts: list[tuple[nn.Module, float]] = [
        (part, stage.lr if stage.kind == "tower" else stage.tower_lr) for part in towers
    ]
    if stage.kind == "instruct":
        parts += [(run.model.projector, stage.lr), (run.model.decoder, stage.lr)]
    groups: list[dict[str, Any]] = []
    for part, lr in parts:
        decay = [p for p in part.parameters() if p.ndim > 1]
        rest = [p for p in part.parameters() if p.ndim <= 1]
        groups += [
            {"params": decay, "peak": lr, "weight_decay": stage.weight_decay},
            {"params": rest, "peak": lr, "weight_decay": 0.0},
        ]
    if stage.kind == "instruct":
        groups.append({"params": [run.model.image_newline], "peak": stage.lr, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))


def learning_rate(step: int, stage: Stage) -> float:
    """Return the share of the peak rate at a step: linear warm-up, then a cosine."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    return 0.5 * (
        1 + math.cos(math.pi * (step - stage.warmup) / max(1, (stage.falls_until or stage.steps) - stage.warmup))
    )


def reply_losses(model: VLM, features: Tensor, packed: Packed, packer: Packer, *, dense: bool) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of one granularity's losses, and the sum of the weights.

    Texts are learnt among all tokens; what is read at a cell, among what can be read there alone.
    """
    embeds = model.embed(packed.ids, features[packed.images])
    read = packed.cells >= 0
    if read.any():
        spots = model.spots(features, packed.ends, packed.cells.clamp(min=0), packed.marks, MARK_GAIN)
        embeds = torch.where(read[..., None], spots.to(embeds.dtype), embeds)
    expert = 0 if dense else int(packed.granularity)
    mask = isolation_mask(packed.segments, packed.parents)
    hidden = model.decoder(embeds, expert, positions=packed.positions, mask=mask)
    total, table = hidden.new_zeros((), dtype=torch.float32), model.decoder.lm_head.weight
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
    heard = (packed.labels != IGNORE) | (packed.blocks != IGNORE) | packed.reach.isfinite()
    return total, packed.weights[heard].sum()


def distance_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the loss ``(K,)`` of a distribution ``(K, n)`` over 0 ... n - 1 whose mean should be ``target``.

    Source: distribution focal loss, arXiv:2006.04388, equation 6: the two whole numbers around it share the target.
    """
    low = target.floor().long().clamp(max=logits.shape[1] - 2)
    share = (target - low).clamp(0, 1)
    logprobs = logits.log_softmax(-1)
    return -((1 - share) * logprobs.gather(1, low[:, None])[:, 0] + share * logprobs.gather(1, low[:, None] + 1)[:, 0])


def step_loss(run: Run, batch: Batch, stage: Stage, packer: Packer) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one step and its parts for the log."""
    with torch.autocast("cpu", torch.bfloat16):
        tokens = run.model.vision(batch.pixels.contiguous(memory_format=torch.channels_last))
        losses = run.heads(tokens, batch.targets)
        parts = {name: float(loss.detach()) for name, loss in losses.items()}
        heads = sum(losses.values(), torch.zeros(()))
        if stage.kind == "tower":
            return heads, parts
        features = run.model.projector(tokens) * stage.image_scale
        newline = run.model.image_newline.to(features.dtype).expand(len(features), 1, -1)
        features = torch.cat([features, newline], 1)
        total, weight = torch.zeros(()), torch.zeros(())
        for packed in batch.packed:
            loss, norm = reply_losses(run.model, features, packed, packer, dense=stage.dense)
            parts[f"reply {packed.granularity.name.lower()}"] = float(loss.detach() / norm)
            total, weight = total + loss, weight + norm
    reply = total / weight.clamp(min=1e-6)
    return reply + stage.heads_weight * heads, parts | {"reply": float(reply.detach())}


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


def train(
    recipe: Recipe,
    corpus: Corpus,
    dialect: Dialect,
    codec: TextCodec,
    out: Path,
    *,
    until: float | None = None,
    compiled: bool = False,
) -> Run:
    """Run all stages, resuming from ``out/last.pt`` where it exists.

    Args:
        recipe: what to do.
        corpus: the train split.
        dialect: prompts and reply forms.
        codec: the tokenizer.
        out: folder for checkpoints and ``log.jsonl``.
        until: stop cleanly at this `time.time`, leaving a checkpoint.
        compiled: compile the vision tower and the decoder.
    """
    torch.manual_seed(recipe.seed)
    model = VLM(recipe.model)
    model.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        model.vision.compile()
        model.decoder.compile(dynamic=True)
    run = Run(model, TowerHeads(recipe.vision.hidden_size, recipe.labels), None, 0, 0)
    resumed = run.load(out / "last.pt") if (out / "last.pt").exists() else None
    for index in range(run.stage, len(recipe.stages)):
        stage = recipe.stages[index]
        if index != run.stage:
            run.stage, run.step = index, 0
            if not stage.dense and recipe.stages[index - 1].dense:
                copy_expert(run.model)
        run.optimiser = build_optimiser(run, stage)
        if resumed is not None:
            run.optimiser.load_state_dict(resumed)
            resumed = None
        steps = Steps(recipe, stage, corpus, dialect, codec)
        if not _run_stage(run, stage, steps, out, until):
            return run
        run.save(out / f"{stage.name}.pt")
    return run


def _run_stage(run: Run, stage: Stage, steps: Steps, out: Path, until: float | None) -> bool:
    """Run one stage from where it stands; return False where the clock ended it."""
    assert run.optimiser is not None
    saved = started = time.time()
    first = run.step
    with (out / "log.jsonl").open("a", encoding="utf-8") as logfile:
        for batch in _batches(steps, first):
            share = learning_rate(run.step, stage)
            for group in run.optimiser.param_groups:
                group["lr"] = group["peak"] * share
            run.model.train()
            loss, parts = step_loss(run, batch, stage, steps.packer)
            run.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            trained = [p for group in run.optimiser.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(trained, 1.0)
            run.optimiser.step()
            run.step += 1
            now = time.time()
            rate = (run.step - first) / (now - started)
            line = {"stage": stage.name, "step": run.step, "loss": float(loss.detach()), "steps_per_s": rate, **parts}
            logfile.write(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}) + "\n")
            logfile.flush()
            if run.step % 100 == 0:
                log.info(
                    "%s %d/%d %s eta %.0f min",
                    stage.name,
                    run.step,
                    stage.steps,
                    parts,
                    (stage.steps - run.step) / rate / 60,
                )
            if now - saved > SAVE_EVERY_S or (until and now > until) or run.step == stage.steps:
                run.save(out / "last.pt")
                saved = now
            if until and now > until and run.step < stage.steps:
                log.info("time is up at %s step %d; run the same command to go on", stage.name, run.step)
                return False
    return True


def _batches(steps: Steps, first: int) -> Iterator[Batch]:
    """Yield batches from step ``first`` on, made ahead by one worker process."""
    loader = DataLoader(steps, batch_size=None, sampler=range(first, len(steps)), num_workers=1, prefetch_factor=8)
    yield from loader

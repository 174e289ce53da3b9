"""The loop: every stage of a recipe, one batch law, resumable at any step, in one process or many.

What a step does depends on the seed, the stage and the step number alone, so a run that was interrupted and resumed
takes the identical next step.
"""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.vlm import VLM
from train.adapters import add_adapter, trained_state
from train.config import Recipe, Stage
from train.data.mixture import Corpus
from train.heads import HeadLosses
from train.learner import Learner, blocks_of_model, checkpoint_blocks, copy_expert, counts_of, total_loss
from train.monitor import Monitor
from train.steps import Batch, Share, Steps, load_ahead, to_device
from train.tokenizer import TextCodec
from train.world import World, sharded_like, whole

SAVE_EVERY_S = 240
LAST = "last.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """How one call of a run goes; what comes out does not depend on it.

    Attributes:
        until: stop cleanly at this `time.time`, leaving a checkpoint.
        compiled: compile the vision tower and the decoder.
        world: the processes that share the run.
        tensorboard: write event files beside the log.
        quiet: say nothing of progress.
    """

    until: float | None = None
    compiled: bool = False
    world: World = field(default_factory=World)
    tensorboard: bool = False
    quiet: bool = False


@dataclass(slots=True)
class Run:
    """The state of a training run: what a checkpoint holds."""

    recipe: Recipe
    learner: Learner
    optimiser: torch.optim.AdamW | None
    stage: int
    step: int

    @property
    def model(self) -> VLM:
        """The network."""
        return self.learner.model

    def save(self, path: Path, world: World) -> None:
        """Write everything, beside the target and renamed; all processes must call it."""
        heads = self.learner.heads
        state = {
            "model": whole(trained_state(self.model, self.recipe.adapter)),
            "heads": whole(heads.state_dict()) if heads is not None else {},
            "optimiser": whole(self.optimiser.state_dict()) if self.optimiser else None,
            "stage": self.stage,
            "step": self.step,
        }
        if world.leads:
            part = path.with_suffix(".part")
            torch.save(state, part)
            part.replace(path)
        world.wait()

    def load(self, path: Path) -> dict[str, Any]:
        """Read weights and position, before anything is sharded; return the optimiser's state."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"], strict=self.recipe.adapter is None)
        if self.learner.heads is not None:
            self.learner.heads.load_state_dict(state["heads"])
        self.stage, self.step = state["stage"], state["step"]
        return state["optimiser"]


def build_optimiser(learner: Learner, stage: Stage) -> torch.optim.AdamW:
    """Return AdamW over the parts that a stage trains; norms, biases and embeddings do not decay."""
    model = learner.model
    towers = [part for part in (model.vision, model.heads, learner.heads) if part is not None]
    parts: list[tuple[nn.Module, float]] = [
        (part, stage.lr if stage.kind == "tower" else stage.tower_lr) for part in towers
    ]
    if stage.kind == "instruct":
        spoken = [part for part in (model.projector, model.evidence, model.decoder) if part is not None]
        parts += [(part, stage.lr) for part in spoken]
    groups: list[dict[str, Any]] = []
    for part, lr in parts:
        trained = [p for p in part.parameters() if p.requires_grad]
        groups += [
            {"params": [p for p in trained if p.ndim > 1], "peak": lr, "weight_decay": stage.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "peak": lr, "weight_decay": 0.0},
        ]
    if stage.kind == "instruct" and model.image_newline.requires_grad:
        groups.append({"params": [model.image_newline], "peak": stage.lr, "weight_decay": 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=(0.9, 0.98))


def learning_rate(step: int, stage: Stage) -> float:
    """Return the share of the peak rate at a step: linear warm-up, then a cosine."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    return 0.5 * (
        1 + math.cos(math.pi * (step - stage.warmup) / max(1, (stage.falls_until or stage.steps) - stage.warmup))
    )


def train(
    recipe: Recipe,
    corpus: Corpus,
    codec: TextCodec,
    out: Path,
    *,
    start: VLM | None = None,
    session: Session | None = None,
) -> Run:
    """Run all stages, resuming from ``out/last.pt`` where it exists.

    Args:
        recipe: what to do.
        corpus: the train split.
        codec: the tokenizer.
        out: folder for checkpoints and ``log.jsonl``.
        start: weights to start from, taken over and changed; random ones where not given.
        session: how this call goes.
    """
    session = session or Session()
    world = session.world
    torch.manual_seed(recipe.seed)
    model = start or VLM(recipe.model)
    if world.size == 1:  # shards want their weights in order
        model.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    heads = HeadLosses(recipe.vision.hidden_size) if recipe.labels else None
    if recipe.adapter is not None:
        add_adapter(model, recipe.adapter, seed=recipe.seed)
    run = Run(recipe, Learner(model, heads), None, 0, 0)
    resumed = run.load(out / LAST) if (out / LAST).exists() else None
    if recipe.checkpointing:
        checkpoint_blocks(blocks_of_model(model))
    if session.compiled:
        model.vision.compile()
        model.decoder.compile(dynamic=True)
    run.learner.to(world.device)
    world.shard(run.learner, recipe.precision)
    monitor = Monitor(out, tensorboard=session.tensorboard, silent=not world.leads, quiet=session.quiet)
    with monitor:
        for index in range(run.stage, len(recipe.stages)):
            stage = recipe.stages[index]
            if index != run.stage:
                run.stage, run.step = index, 0
                if not stage.dense and recipe.stages[index - 1].dense:
                    copy_expert(model)
            run.optimiser = build_optimiser(run.learner, stage)
            if resumed is not None:
                order = [p for group in run.optimiser.param_groups for p in group["params"]]
                run.optimiser.load_state_dict(sharded_like(resumed, order))
                resumed = None
            share = Share(rank=world.rank, size=world.size, pieces=stage.pieces)
            steps = Steps(recipe, stage, corpus, recipe.dialect, codec, share)
            if not _run_stage(run, steps, out, session, monitor):
                return run
            run.save(out / f"{stage.name}.pt", world)
    return run


def _run_stage(run: Run, steps: Steps, out: Path, session: Session, monitor: Monitor) -> bool:
    """Run one stage from where it stands; return False where the clock ended it."""
    stage, world = steps.stage, session.world
    saved = time.time()
    monitor.begin(stage, run.step, sum(before.steps for before in run.recipe.stages[: run.stage]))
    for pieces in load_ahead(steps, run.step):
        loss, facts = take_step(run, to_device(pieces, world.device), steps, world)
        monitor.step(stage, run.step, loss, facts)
        now = time.time()
        # One clock for all processes, or some would stop while others wait for them.
        late, due = world.total([float(bool(session.until and now > session.until)), float(now - saved > SAVE_EVERY_S)])
        ended = run.step == stage.steps
        if late or due or ended:
            run.save(out / LAST, world)
            saved = now
        if late and not ended:
            return False
    return True


def take_step(run: Run, pieces: tuple[Batch, ...], steps: Steps, world: World) -> tuple[float, dict[str, float]]:
    """Take one step of the optimiser.

    Args:
        run: at the step before.
        pieces: what this process computes of the batch, on its device.
        steps: the stage they are from.
        world: the processes that share the batch.

    Returns:
        The loss of the whole batch, and its parts for the log.
    """
    assert run.optimiser is not None
    stage, optimiser = steps.stage, run.optimiser
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * learning_rate(run.step, stage)
    torch.manual_seed(run.recipe.seed * 1_000_003 + run.step)  # of dropout alone
    set_training(run)
    own = [counts_of(piece) for piece in pieces]
    names = sorted({name for counts in own for name in counts})
    counts = dict(zip(names, world.total([sum(c.get(name, 0.0) for c in own) for name in names]), strict=True))
    optimiser.zero_grad(set_to_none=True)
    told = dict.fromkeys(["loss", *names], 0.0)
    for piece in pieces:
        with torch.autocast(world.device.type, torch.bfloat16, enabled=run.recipe.precision == "bf16"):
            sums = run.learner(piece, stage, steps.packer)
        loss = total_loss(sums, counts, stage)
        # Gradients are averaged over the processes, and the loss is a sum over them.
        (loss * world.size).backward()
        for name, value in (("loss", loss), *sums.items()):
            told[name] += float(value.detach())
    trained = [p for group in optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimiser.step()
    run.step += 1
    whole_batch = dict(zip(told, world.total(list(told.values())), strict=True))
    parts = {name: whole_batch[name] / counts[name] for name in names if counts[name]}
    replies = [name for name in names if name.startswith("reply")]
    if weight := sum(counts[name] for name in replies):
        parts["reply"] = sum(whole_batch[name] for name in replies) / weight
    return whole_batch["loss"], parts


def set_training(run: Run) -> None:
    """Put the learner in training mode; frozen batch norms keep their statistics."""
    run.learner.train()
    if run.recipe.adapter is not None:
        run.model.vision.eval()

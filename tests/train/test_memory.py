"""The estimate of memory against the bytes that a run really holds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import DecoderConfig, LabelSets, VisionConfig
from model.vlm import VLM
from tests.train.recipes import TINY, tiny_codec, tiny_corpus
from train.config import Adapter, Recipe, find_recipe
from train.learner import Learner, blocks_of_model, checkpoint_blocks
from train.loop import Run, build_optimiser, take_step
from train.memory import estimate, saved_bytes, trained_weights
from train.steps import Share, Steps
from train.world import World

# Wider than the tiny recipe: what is counted must outweigh what is not.
RECIPE = replace(
    TINY,
    vision=VisionConfig(image_size=64, patch_size=8, hidden_size=32, intermediate_size=96, layers=4, heads=2),
    decoder=DecoderConfig(vocab_size=420, hidden_size=32, intermediate_size=96, layers=4, heads=2, kv_heads=1),
    labels=LabelSets(),
    stages=tuple(replace(stage, heads_weight=0.0, batch=2) for stage in TINY.stages[1:]),
    precision="bf16",
)


def start(recipe: Recipe, stage: int, corpus_root: Path) -> tuple[Run, Steps]:
    corpus = tiny_corpus(corpus_root)
    learner = Learner(VLM(recipe.model), None)
    if recipe.checkpointing:
        checkpoint_blocks(blocks_of_model(learner.model))
    steps = Steps(recipe, recipe.stages[stage], corpus, recipe.dialect, tiny_codec(corpus), Share())
    return Run(recipe, learner, build_optimiser(learner, recipe.stages[stage]), stage, 0), steps


@pytest.mark.parametrize("stage", [0, 1])
def test_weights_gradients_and_optimiser_are_counted_to_the_byte(stage: int, tmp_path: Path) -> None:
    # A batch that speaks at every granularity, or an expert would be left without gradient.
    recipe = replace(RECIPE, stages=tuple(replace(s, batch=12) for s in RECIPE.stages))
    run, steps = start(recipe, stage, tmp_path)
    found = estimate(recipe, recipe.stages[stage])
    take_step(run, steps[0], steps, World(device=torch.device("cpu")))
    held = [p for p in run.model.parameters() if p.grad is not None]
    assert found.stored == sum(p.numel() for p in run.model.parameters())
    assert found.trained == sum(p.numel() for p in held)
    assert found.gradients == sum(p.grad.nbytes for p in held)
    moments = [t for state in run.optimiser.state.values() for t in state.values() if t.ndim]
    assert found.optimiser == sum(t.nbytes for t in moments)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_blocks_keep_is_estimated_to_a_third(checkpointing: bool, tmp_path: Path) -> None:
    recipe = replace(RECIPE, checkpointing=checkpointing)
    run, steps = start(recipe, 0, tmp_path)
    (batch,) = steps[0]
    weights = {p.untyped_storage().data_ptr() for p in run.model.parameters()}
    inputs: dict[int, int] = {}
    for block in blocks_of_model(run.model):
        block.register_forward_pre_hook(
            lambda _, given: inputs.__setitem__(given[0].untyped_storage().data_ptr(), given[0].nbytes)
        )
    with saved_bytes() as kept, torch.autocast("cpu", torch.bfloat16):
        sums = run.learner(batch, recipe.stages[0], steps.packer)
    assert sums
    tokens = sum(packed.ids.numel() for packed in batch.packed)
    views = len({int(image) for packed in batch.packed for image in packed.images})
    found = estimate(recipe, recipe.stages[0])
    assumed = recipe.stages[0].batch * (64 + 1 + 512)
    if checkpointing:
        # Between the blocks nothing but their inputs; the estimate adds the inside of one block.
        assert sum(inputs.values()) < found.activations * max(1, tokens / assumed)
        return
    inside = sum(n for address, n in kept.items() if address not in weights)
    # Scaled from the text that the estimate assumes to the text that there is.
    text = found.activations - views_part(found.activations, recipe, views)
    assert views_part(found.activations, recipe, views) + text * tokens / assumed == pytest.approx(inside, rel=0.35)


def views_part(activations: float, recipe: Recipe, views: int) -> float:
    """Return what of the activations is the tower's, for so many pictures."""
    alone = estimate(recipe, replace(recipe.stages[0], kind="tower")).activations
    return alone * views / recipe.stages[0].batch


def test_an_adapter_trains_its_matrices_alone_and_shards_divide_what_is_kept() -> None:
    adapter = Adapter(rank=4, targets=r"decoder\.layers\.\d+\.attention\.[qk]_proj")
    recipe = replace(RECIPE, adapter=adapter)
    q, k = 4 * (32 + 32), 4 * (32 + 16)
    assert trained_weights(recipe, recipe.stages[1]) == 4 * (q + k)
    one, two = (estimate(RECIPE, RECIPE.stages[1], size=size) for size in (1, 2))
    assert (two.weights, two.optimiser) == (one.weights / 2, one.optimiser / 2)


def test_the_released_models_sizes_are_those_of_the_recipe_that_ships() -> None:
    recipe = find_recipe("rsunivlm")
    found = estimate(recipe, recipe.stages[0])
    unused_norm = 2 * 1152  # behind the tower; the release stores it, nothing reads it
    assert found.stored == 1_656_807_712 - unused_norm
    assert found.trained == 1_029_234_976 - unused_norm

"""The loop learns, stops and goes on as if it had not stopped."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny_sets import make_tiny_set

from model.config import DecoderConfig, LabelSets, VisionConfig
from rsvlm_cli.errors import InputError
from rsvlm_cli.tasks.dialect import NANO
from train.config import Recipe, Stage
from train.data.corpus_text import corpus_texts
from train.data.mixture import Corpus
from train.data.shares import Mix
from train.learner import copy_expert
from train.loop import Session, learning_rate, train
from train.tokenizer import TextCodec, train_tokenizer

ROOT = Path(__file__).parents[2]

RECIPE = Recipe(
    name="tiny",
    seed=1,
    vision=VisionConfig(
        image_size=32,
        patch_size=4,
        hidden_size=16,
        intermediate_size=24,
        layers=1,
        heads=2,
        stem_channels=(8, 16),
        stem_blocks=(0, 1),
    ),
    decoder=DecoderConfig(
        vocab_size=420, hidden_size=16, intermediate_size=24, layers=1, heads=2, kv_heads=1, tie_embeddings=True
    ),
    labels=LabelSets(scenes=("farmland", "industrial"), objects=("building", "ship"), masks=("building",)),
    mix=Mix(weights={"tiny": 1.0}),
    turn_weights={},
    stages=(
        Stage(name="tower", kind="tower", steps=3, batch=3, lr=1e-3, warmup=1),
        Stage(name="dense", kind="instruct", steps=3, batch=3, lr=1e-3, tower_lr=1e-4, warmup=1, dense=True),
        Stage(name="experts", kind="instruct", steps=2, batch=3, lr=1e-3, tower_lr=1e-4, warmup=1),
    ),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("sets")
    make_tiny_set(root / "tiny")
    return Corpus.load(root, ["tiny"], "train")


@pytest.fixture(scope="module")
def codec(corpus: Corpus) -> TextCodec:
    return TextCodec(train_tokenizer(corpus_texts(corpus, NANO, 0), 420))


def logged(folder: Path) -> list[tuple[str, int, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"], line["loss"]) for line in lines]


def test_a_stopped_and_resumed_run_takes_the_identical_steps(corpus: Corpus, codec: TextCodec, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "pieces").mkdir()
    whole = train(RECIPE, corpus, codec, tmp_path / "whole")
    for _ in range(20):
        # A clock that has run out stops after one step; the next call goes on.
        pieces = train(RECIPE, corpus, codec, tmp_path / "pieces", session=Session(until=1.0))
        if (tmp_path / "pieces" / "experts.pt").exists():
            break
    assert logged(tmp_path / "pieces") == logged(tmp_path / "whole")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(pieces.model.state_dict()[name], tensor), name


def test_experts_start_equal_and_part_when_their_stage_trains(corpus: Corpus, codec: TextCodec, tmp_path: Path) -> None:
    run = train(RECIPE, corpus, codec, tmp_path)
    experts = run.model.decoder.layers[0].experts
    assert not torch.equal(experts[0].gate_proj.weight, experts[2].gate_proj.weight)
    copy_expert(run.model)
    assert torch.equal(experts[0].gate_proj.weight, experts[2].gate_proj.weight)
    assert experts[0].gate_proj.weight.data_ptr() != experts[2].gate_proj.weight.data_ptr()


def test_a_tower_stage_leaves_the_decoder_alone(corpus: Corpus, codec: TextCodec, tmp_path: Path) -> None:
    recipe = replace(RECIPE, stages=RECIPE.stages[:1])
    torch.manual_seed(recipe.seed)
    before = train(replace(recipe, stages=(replace(recipe.stages[0], lr=0.0),)), corpus, codec, tmp_path)
    (tmp_path / "b").mkdir()
    after = train(recipe, corpus, codec, tmp_path / "b")
    assert torch.equal(before.model.decoder.embed_tokens.weight, after.model.decoder.embed_tokens.weight)
    assert not torch.equal(before.model.vision.position_embedding.weight, after.model.vision.position_embedding.weight)


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    stage = Stage(name="s", kind="tower", steps=110, batch=1, lr=1.0, warmup=10)
    assert learning_rate(0, stage) == pytest.approx(0.1)
    assert learning_rate(9, stage) == 1.0
    assert learning_rate(60, stage) == pytest.approx(0.5)
    assert learning_rate(110, stage) == pytest.approx(0)


def test_every_shipped_recipe_reads_and_a_broken_one_is_named(tmp_path: Path) -> None:
    for path in (ROOT / "train" / "recipes").glob("*.toml"):
        assert Recipe.from_toml(path).stages
    bad = tmp_path / "bad.toml"
    bad.write_text("name = 'x'\nseed = 1\n")
    with pytest.raises(InputError, match=r"bad\.toml: not a recipe: 'model'"):
        Recipe.from_toml(bad)

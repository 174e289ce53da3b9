"""A batch cut into pieces, or shared by two processes that shard the model, is the same batch."""

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rsvlm_cli.errors import UsageError
from tests.train.recipes import TINY, tiny_codec, tiny_corpus
from train.data.mixture import Corpus
from train.loop import Run, Session, train
from train.steps import Share
from train.tokenizer import TextCodec
from train.world import join_world


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def codec(corpus: Corpus) -> TextCodec:
    return tiny_codec(corpus)


@pytest.fixture(scope="module")
def alone(corpus: Corpus, codec: TextCodec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The run of one process in one piece, and its folder."""
    folder = tmp_path_factory.mktemp("alone")
    return train(TINY, corpus, codec, folder, session=Session(quiet=True)), folder


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["model"]


def same_weights(a: Path, b: Path) -> None:
    for name, tensor in weights(a).items():
        torch.testing.assert_close(weights(b)[name], tensor, rtol=1e-3, atol=2e-5, msg=name)


def test_a_batch_in_pieces_is_the_same_batch(alone, corpus: Corpus, codec: TextCodec, tmp_path: Path) -> None:
    recipe = replace(TINY, stages=tuple(replace(stage, pieces=2) for stage in TINY.stages), checkpointing=True)
    train(recipe, corpus, codec, tmp_path, session=Session(quiet=True))
    assert losses(tmp_path) == pytest.approx(losses(alone[1]), abs=2e-4)
    same_weights(alone[1], tmp_path)


def train_in_process(rank: int, port: int, corpus: Corpus, codec: TextCodec, out: Path) -> None:
    """One of two processes; the first half stops by the clock, so that a sharded run is resumed as well."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with join_world() as world:
        train(TINY, corpus, codec, out, session=Session(world=world, until=1.0, quiet=True))
        train(TINY, corpus, codec, out, session=Session(world=world, quiet=True))


def test_two_processes_that_share_a_sharded_model_lose_what_one_loses(
    alone, corpus: Corpus, codec: TextCodec, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    port = 20_000 + os.getpid() % 20_000
    parts = [context.Process(target=train_in_process, args=(rank, port, corpus, codec, tmp_path)) for rank in range(2)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert [part.exitcode for part in parts] == [0, 0]
    assert losses(tmp_path) == pytest.approx(losses(alone[1]), abs=2e-4)
    same_weights(alone[1], tmp_path)


def test_every_view_of_a_batch_is_in_exactly_one_piece() -> None:
    cuts = [piece for rank in range(3) for piece in Share(rank=rank, size=3, pieces=2).cut(16)]
    assert [place for piece in cuts for place in piece] == list(range(16))
    assert all(len(piece) in (2, 3) for piece in cuts)
    with pytest.raises(UsageError, match="a batch of 5 views for 3 processes of 2 pieces each"):
        Share(size=3, pieces=2).cut(5)

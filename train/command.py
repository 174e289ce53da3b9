"""A run from recipe and prepared sets to a checkpoint folder that `export` reads: what `rsvlm train` and `tune` do."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.vlm import VLM
from rsvlm_cli import __version__
from rsvlm_cli.errors import InputError, UsageError
from train.adapters import merge_adapter, trained_state
from train.card import make_card
from train.config import Recipe
from train.data.corpus_text import corpus_texts
from train.data.mixture import Corpus
from train.learner import fold_scale
from train.loop import Run, Session, train
from train.tokenizer import TextCodec, train_tokenizer
from train.world import World, join_world, whole

TOKENIZER, CARD, DIALECT = "tokenizer.json", "card.json", "dialect.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How `rsvlm train` was called.

    Attributes:
        minutes: stop cleanly after so long; the same call goes on.
        threads: of the CPU; torch's own choice where not given.
        compiled: compile the vision tower and the decoder.
        tensorboard: write event files.
        quiet: say nothing of progress.
    """

    minutes: float | None = None
    threads: int | None = None
    compiled: bool = False
    tensorboard: bool = False
    quiet: bool = False


def run_recipe(recipe: Recipe, data: Path, out: Path, start: Path | None, options: Options) -> bool:
    """Train, or go on where the run stopped, and write a checkpoint folder.

    Args:
        recipe: what to do.
        data: folder of prepared sets.
        out: the run's folder, which becomes the checkpoint folder.
        start: a checkpoint folder to start from, ours or a released one, or None.
        options: how this call goes.

    Returns:
        Whether the recipe has come to its end.

    Raises:
        InputError: if a set or the start cannot be read.
        UsageError: if recipe, start and options do not fit together.
    """
    until = time.time() + options.minutes * 60 if options.minutes else None
    if options.threads:
        torch.set_num_threads(options.threads)
    with join_world() as world:
        if recipe.adapter is not None and recipe.adapter.four_bit and world.size > 1:
            raise UsageError("four_bit weights cannot be shared by several processes (start it without torchrun)")
        corpus = load_corpus(data, recipe)
        if world.leads:
            out.mkdir(parents=True, exist_ok=True)
            prepare_tokenizer(recipe, corpus, start, out)
        world.wait()
        session = Session(
            until=until,
            compiled=options.compiled,
            world=world,
            tensorboard=options.tensorboard,
            quiet=options.quiet,
        )
        weights = load_start(start, recipe)
        run = train(recipe, corpus, TextCodec.load(out / TOKENIZER), out, start=weights, session=session)
        write_checkpoint(run, corpus, out, start, world)
        return run.stage == len(recipe.stages) - 1 and run.step == recipe.stages[-1].steps


def load_corpus(data: Path, recipe: Recipe) -> Corpus:
    """Load the train split of a recipe's sets.

    Raises:
        InputError: if none of them is there.
    """
    try:
        return Corpus.load(data, recipe.mix.names, "train")
    except FileNotFoundError as error:
        raise InputError(str(error)) from error


def load_start(start: Path | None, recipe: Recipe) -> VLM | None:
    """Load the weights that a run starts from; None for random ones.

    Raises:
        InputError: if the folder is no checkpoint.
        UsageError: if its sizes are not the recipe's, or a recipe that adapts weights has none.
    """
    if start is None:
        if recipe.adapter is not None:
            raise UsageError("an adapter has nothing to stand beside: name a checkpoint folder with --start")
        return None
    try:
        model = load_checkpoint(start)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{start}: no checkpoint: {error} (wanted config.json and model.safetensors)") from error
    if model.config != recipe.model:
        raise UsageError(f"{start}: its sizes {model.config} are not the recipe's {recipe.model}")
    return model


def prepare_tokenizer(recipe: Recipe, corpus: Corpus, start: Path | None, out: Path) -> None:
    """Put a tokenizer into the run's folder: the start's own, or one learnt from the sets."""
    if (out / TOKENIZER).exists():
        return
    if start is not None:
        if not (start / TOKENIZER).is_file():
            raise InputError(f"{start}: no {TOKENIZER} in it (wanted beside the weights)")
        shutil.copyfile(start / TOKENIZER, out / TOKENIZER)
        return
    if recipe.family != "nano":
        raise UsageError(
            f"the tokenizer of {recipe.family} comes with its weights: name a checkpoint folder with --start"
        )
    texts = corpus_texts(corpus, recipe.dialect, recipe.seed)
    train_tokenizer(texts, recipe.decoder.vocab_size).save(str(out / TOKENIZER))


def write_checkpoint(run: Run, corpus: Corpus, out: Path, start: Path | None, world: World) -> None:
    """Write what `export` reads: weights, sizes, card, dialect; all processes must call it."""
    recipe = run.recipe
    learnt = whole(trained_state(run.model, recipe.adapter))
    if not world.leads:
        return
    if recipe.adapter is not None:
        plain = load_start(start, recipe)
        assert plain is not None
        merge_adapter(learnt, recipe.adapter, plain)
    elif world.size == 1:
        plain = run.model
    else:
        plain = VLM(recipe.model)
        plain.load_state_dict(learnt)
    fold_scale(plain, recipe.stages[run.stage].image_scale)
    save_checkpoint(plain, out)
    card = make_card(recipe, corpus, __version__)
    if start is not None and (start / CARD).is_file():
        card = extend_card(json.loads((start / CARD).read_text(encoding="utf-8")), card)
    write_json(out / CARD, card)
    write_json(out / DIALECT, recipe.dialect.to_json())


def extend_card(former: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card of a model that was trained further: what it was, its new name, and the data of both."""
    known = {entry["name"]: entry for entry in (*former.get("data", ()), *card["data"])}
    same = {key: value for key, value in former.items() if key != "quality"}
    return same | {"name": card["name"], "version": card["version"], "data": list(known.values())}


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON as the other files of a checkpoint have it."""
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

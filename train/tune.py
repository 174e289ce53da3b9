"""The recipe of a model that goes on learning from a field office's own sets."""

import json
from dataclasses import replace
from pathlib import Path

from model.config import ModelConfig
from rsvlm_cli.errors import InputError
from rsvlm_cli.tasks.dialect import Dialect
from train.config import DIALECTS, Adapter, Family, Recipe, Stage
from train.data.check import prepared_folders
from train.data.shares import Mix

TEMPERATURE = 2.0
"""A small set of one's own is not drowned by a large one that keeps what was known."""

SEEING = r"vision\.layers\..+(_proj|fc[12])"
"""What an adapter learns beside, where the tower answers by heads of its own: they see no more than it does."""


def make_recipe(start: Path, data: Path, stage: Stage, adapter: Adapter | None, *, name: str, seed: int) -> Recipe:
    """Return the recipe of one stage on every prepared set of a folder.

    Args:
        start: the checkpoint folder to start from.
        data: the folder of prepared sets.
        stage: what to do.
        adapter: train small matrices beside frozen weights, or None to train the weights.
        name: of the model.
        seed: of everything random.

    Raises:
        InputError: if the start is no checkpoint of a family that can be trained, or the folder holds no set.
    """
    try:
        sizes = json.loads((start / "config.json").read_text(encoding="utf-8"))
        released = "model_type" in sizes
        config = ModelConfig.from_released(sizes) if released else ModelConfig.from_json(sizes)
        said = None if released else json.loads((start / "dialect.json").read_text(encoding="utf-8"))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{start}: no checkpoint: {error} (wanted config.json and model.safetensors)") from error
    if adapter is not None and config.labels:
        adapter = replace(adapter, targets=f"({SEEING}|{adapter.targets})")
    names = [folder.name for folder in prepared_folders(data) if folder != data]
    if not names:
        raise InputError(f"{data}: is one prepared set, wanted the folder that holds it")
    return Recipe(
        name=name,
        seed=seed,
        vision=config.vision,
        decoder=config.decoder,
        labels=config.labels,
        mix=Mix(times=dict.fromkeys(names, 1.0), temperature=TEMPERATURE),
        turn_weights={},
        stages=(stage,),
        family=family_of(Dialect.from_json(said), start) if said is not None else "rsunivlm",
        adapter=adapter,
        checkpointing=config.decoder.layers > 12,
    )


def family_of(dialect: Dialect, start: Path) -> Family:
    """Return the family that speaks a dialect.

    Raises:
        InputError: if it is none that can be trained.
    """
    for family, known in DIALECTS.items():
        if known == dialect:
            return family
    raise InputError(f"{start}: its dialect is not one that training speaks (wanted {' or '.join(DIALECTS)})")

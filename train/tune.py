"""The recipe of a model that goes on learning from a field office's own sets."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from model.config import ModelConfig
from rsvlm_cli.errors import InputError, OutputExists
from rsvlm_cli.tasks.dialect import Dialect
from train.command import TOKENIZER, write_json
from train.config import DIALECTS, Adapter, Family, Recipe, Stage
from train.data.check import prepared_folders
from train.data.records import RECORDS_FILE
from train.data.shares import Mix

START = "start"
"""Of a run that starts from a bundle, the checkpoint that was made of it."""

ORIGIN = "origin.json"
"""What a run is made of."""

TEMPERATURE = 2.0
"""A small set of one's own is not drowned by a large one that keeps what was known."""

SEEING = r"vision\.layers\..+(_proj|fc[12])"
"""What an adapter learns beside, where the tower answers by heads of its own: they see no more than it does."""


def begin_run(out: Path, start: Path, data: Path, adapter: Adapter | None) -> None:
    """Note in a run's folder what the run is made of, so that no other run goes on from what lies there.

    Args:
        out: the run's folder.
        start: folder of the bundle or checkpoint to start from.
        data: the folder of prepared sets.
        adapter: as `make_recipe`.

    Raises:
        OutputExists: if the folder holds a run that is made of something else.
        InputError: if there is no prepared set.
    """
    records = [folder / RECORDS_FILE for folder in prepared_folders(data)]
    weights = [path for path in sorted(start.iterdir()) if path.suffix in (".bin", ".safetensors")]
    asked = {
        "start": f"{start.resolve().name} {_digest(weights)}",
        "data": f"{', '.join(path.parent.name for path in records)} {_digest(records)}",
        "learning": "all weights" if adapter is None else f"rank {adapter.rank}{', 4 bit' * adapter.four_bit}",
    }
    try:
        found = json.loads((out / ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if found == asked:
        return
    if (out / TOKENIZER).exists() or (out / START).exists():
        other = [key for key in asked if found.get(key) != asked[key]]
        was, wanted = (", ".join(f"{key}: {told.get(key, 'unknown')}" for key in other) for told in (found, asked))
        raise OutputExists(f"{out}: holds another run ({was}), wanted {wanted} (name another --out, or remove it)")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / ORIGIN, asked)


def _digest(paths: Iterable[Path]) -> str:
    """Return 12 hex digits of what files hold."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


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

"""A checkpoint as numpy arrays, one tensor at a time, whatever its family calls them; no torch.

Our own layout, the released RSUniVLM, LLaVA-OneVision-Qwen2 (each expert a copy of its one MLP), or Qwen2 completed by
the vision tower of a SigLIP release. `export.families` knows the families, `export.tensors` the files.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.families import TOWER_LAYOUTS, Family, read_sizes, recognise
from export.tensors import TensorFolder, open_tensors
from model.config import ModelConfig
from model.weights import HEAD, Layout, check_shapes, expected_shapes
from rsvlm_cli.errors import BundleError

CONFIG = "config.json"
EMBEDDING = "decoder.embed_tokens.weight"
INITIAL_STD = 0.02
"""Of a projector that no checkpoint holds. Source: `model.vision.init_weights`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        folder: where it lies.
        config: sizes.
        data: its ``config.json``.
        family: whose layout it has, or None for our own.
        tensors: canonical name -> folder and name there. What is in none of them is drawn (`read`).
        kept: which of the experts there are left, in order, where `keep_experts` left some out.
        notes: one line each, for the user.
    """

    folder: Path
    config: ModelConfig
    data: Mapping[str, Any]
    family: Family | None
    tensors: Mapping[str, tuple[TensorFolder, str]]
    kept: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()

    def read(self, name: str) -> np.ndarray:
        """Return a tensor by canonical name, in the type it is stored in.

        A projector that is in no folder is drawn as training starts it, the same every time.

        Raises:
            BundleError: if it holds a value that is no number.
        """
        if name in self.tensors:
            files, stored = self.tensors[name]
            return files.read(stored)
        shape = expected_shapes(self.config)[name]
        if len(shape) == 1 and name != "image_newline":
            return np.zeros(shape, np.float32)
        rng = np.random.default_rng([*name.encode()])
        std = self.config.decoder.hidden_size**-0.5 if name == "image_newline" else INITIAL_STD
        return rng.normal(0, std, shape).astype(np.float32)

    def keep_experts(self, kept: Sequence[int]) -> "Checkpoint":
        """Return the checkpoint with some of its experts alone, in the order given."""
        decoder = replace(self.config.decoder, experts=len(kept))

        def renumbered(name: str) -> str | None:
            found = re.fullmatch(r"(.+\.experts\.)(\d+)(\..+)", name)
            if not found:
                return name
            return f"{found[1]}{kept.index(int(found[2]))}{found[3]}" if int(found[2]) in kept else None

        tensors = {new: place for name, place in self.tensors.items() if (new := renumbered(name)) is not None}
        config = replace(self.config, decoder=decoder)
        return replace(self, config=config, tensors=tensors, kept=tuple(kept))


def open_checkpoint(folder: Path, tower: Path | None = None) -> Checkpoint:
    """Open a checkpoint folder and compare its tensors' names and shapes with its configuration.

    Args:
        folder: with ``config.json`` and weights.
        tower: a SigLIP release, for a checkpoint that holds no vision tower of its own.

    Raises:
        BundleError: if a file is missing or broken, the family is another, or a tensor is missing, unexpected or
            misshapen; the line names it as the file does.
    """
    data = read_config_file(folder)
    tower_data = read_config_file(tower) if tower else None
    tensors = open_tensors(folder)
    try:
        if "model_type" not in data:
            if tower:
                raise ValueError("it has a vision tower of its own (import it without --tower)")
            config = ModelConfig.from_json(data)
            check_shapes(tensors.shapes, config)
            places = {name: (tensors, name) for name in tensors.shapes}
            return _finish(folder, data, config, None, places)
        family = recognise(data)
        if not family.has_vision and tower is None:
            raise ValueError("a language model alone, wanted the folder of a SigLIP release beside it (--tower DIR)")
        config = read_sizes(family, data, tower_data)
        layout = _choose(family.layouts, tensors)
        if "tie_word_embeddings" not in data and layout.head not in tensors.shapes:
            config = replace(config, decoder=replace(config.decoder, tie_embeddings=True))
        parts = ("decoder.", "projector.", "image_newline", *(() if tower else ("vision.",)))
        places = _place(tensors, layout, config, layout.unused, parts)
        if tower:
            files = open_tensors(tower)
            layout = _choose(TOWER_LAYOUTS, files)
            last = rf"{re.escape(layout.tower or '')}encoder\.layers\.{config.vision.layers}\..*"
            places |= _place(files, layout, config, f"{layout.unused}|{last}", ("vision.",))
    except KeyError as error:
        raise BundleError(f"{folder / CONFIG}: key {error} is missing (wanted the model's own {CONFIG})") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder}: not a checkpoint of this family: {error}") from error
    return _finish(folder, data, config, family, places)


def read_config_file(folder: Path) -> dict[str, Any]:
    """Read a folder's ``config.json``.

    Raises:
        BundleError: if it is missing or no JSON object.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise BundleError(f"{folder}: no {CONFIG} in it, wanted a checkpoint of {CONFIG} and its weights")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path}: no JSON: {error}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path}: no JSON object, wanted a model's configuration")
    return data


def _choose(layouts: Sequence[Layout], tensors: TensorFolder) -> Layout:
    """Return the layout whose first tensors are there, or else the first, for its names to be missed."""
    for layout in layouts:
        first = layout.stored_name("vision.patch_embedding.weight") or layout.stored_name(EMBEDDING)
        if first in tensors.shapes:
            return layout
    return layouts[0]


def _place(
    tensors: TensorFolder, layout: Layout, config: ModelConfig, unused: str, parts: tuple[str, ...]
) -> dict[str, tuple[TensorFolder, str]]:
    """Check a folder's tensors, and return canonical name -> place of those parts of a model that it holds."""
    names = {name: key for name, key in layout.stored_names(config).items() if name.startswith(parts)}
    used = {key: shape for key, shape in tensors.shapes.items() if not re.fullmatch(unused, key)}
    check_shapes(used, config, names)
    return {name: (tensors, key) for name, key in names.items() if key in used}


def _finish(
    folder: Path,
    data: Mapping[str, Any],
    config: ModelConfig,
    family: Family | None,
    tensors: dict[str, tuple[TensorFolder, str]],
) -> Checkpoint:
    """Settle the output head: where the flag ties it, the embedding serves, as in the reference loader."""
    notes: tuple[str, ...] = ()
    if config.decoder.tie_embeddings and HEAD in tensors:
        files, key = tensors.pop(HEAD)
        table, name = tensors[EMBEDDING]
        if not np.array_equal(files.read(key), table.read(name)):
            notes = (
                f"{folder}: {key} differs from {name}, but tie_word_embeddings is true: the embedding is the head",
            )
    return Checkpoint(folder=folder, config=config, data=data, family=family, tensors=tensors, notes=notes)

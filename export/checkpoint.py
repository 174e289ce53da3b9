"""A checkpoint as numpy arrays, one tensor at a time: our own layout or the released RSUniVLM layout, no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from model.config import ModelConfig
from model.weights import canonical_name, check_shapes
from rsvlm_cli.errors import BundleError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        folder: where it lies.
        config: sizes.
        released: whether it is in the released RSUniVLM layout.
        stored: canonical name -> name in the file.
    """

    folder: Path
    config: ModelConfig
    released: bool
    stored: Mapping[str, str]

    def read(self, name: str) -> np.ndarray:
        """Return a tensor by canonical name, in the type it is stored in."""
        with safe_open(self.folder / WEIGHTS, framework="numpy") as file:
            return file.get_tensor(self.stored[name])


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint folder and compare its tensors' names and shapes with its configuration.

    Raises:
        BundleError: if a file is missing or broken, the family is another, or a tensor is missing or misshapen.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise BundleError(f"{folder}: no {name} in it, wanted a checkpoint of {CONFIG} and {WEIGHTS}")
    try:
        data = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        released = "model_type" in data
        config = ModelConfig.from_released(data) if released else ModelConfig.from_json(data)
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            names = {(canonical_name(key) if released else key): key for key in file.keys()}  # noqa: SIM118, not a dict
            stored = {name: key for name, key in names.items() if name is not None}
            shapes = {name: tuple(file.get_slice(key).get_shape()) for name, key in stored.items()}
        check_shapes(shapes, config)
    except KeyError as error:
        raise BundleError(f"{folder}: {error} is no key or tensor of this family (wanted rsvlm or RSUniVLM)") from error
    except (ValueError, TypeError, SafetensorError) as error:
        raise BundleError(f"{folder}: not a checkpoint of this family: {error}") from error
    return Checkpoint(folder=folder, config=config, released=released, stored=stored)

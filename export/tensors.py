"""The tensors of a checkpoint folder, one file or many shards, read one at a time and never all at once.

safetensors are read without torch. Files of ``torch.save`` are opened with ``weights_only=True`` alone: a pickle that
would run code is refused, not run.
"""

import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  numpy learns bfloat16 from it, which safetensors asks for by name
import numpy as np
from safetensors import SafetensorError, safe_open

from rsvlm_cli.errors import BundleError

WEIGHTS = "model.safetensors"
PICKLED = "pytorch_model.bin"
WAY_OUT = "(copy or download it again)"


@dataclass(frozen=True)
class TensorFolder:
    """The tensors of one folder.

    Attributes:
        folder: where they lie.
        files: tensor name -> file, as the files themselves or their index say.
    """

    folder: Path
    files: Mapping[str, Path]
    _pickles: dict[Path, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, from the files' heads."""
        shapes: dict[str, tuple[int, ...]] = {}
        for path in dict.fromkeys(self.files.values()):
            shapes |= _shapes(path, self._pickles)
        return shapes

    def read(self, name: str) -> np.ndarray:
        """Return a tensor in the type it is stored in.

        Raises:
            BundleError: if it holds something that is no number.
        """
        path = self.files[name]
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                array = file.get_tensor(name)
        else:
            tensor = self._pickles[path][name]
            array = tensor.float().numpy() if str(tensor.dtype) == "torch.bfloat16" else tensor.numpy()
        # A sum is not finite where a value is not, and needs no copy of the tensor.
        if not math.isfinite(float(array.sum(dtype=np.float64))):
            raise BundleError(f"{path}: {name} holds values that are no numbers {WAY_OUT}")
        return array


def open_tensors(folder: Path) -> TensorFolder:
    """Find a folder's weights: safetensors first, then files of ``torch.save``, each whole or in shards.

    Raises:
        BundleError: if there are none, a file is broken, or the shards are not those of their index.
    """
    for name in (WEIGHTS, PICKLED):
        if (folder / name).is_file():
            pickles: dict[Path, Mapping[str, Any]] = {}
            files = dict.fromkeys(_shapes(folder / name, pickles), folder / name)
            return TensorFolder(folder, files, pickles)
        if (folder / f"{name}.index.json").is_file():
            return _open_shards(folder, folder / f"{name}.index.json")
    raise BundleError(f"{folder}: no {WEIGHTS} in it, nor {PICKLED}, nor an index of shards (wanted a checkpoint)")


def _open_shards(folder: Path, index: Path) -> TensorFolder:
    try:
        listed = {str(key): str(value) for key, value in json.loads(index.read_text("utf-8"))["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{index}: no index of shards: {error} {WAY_OUT}") from error
    pickles: dict[Path, Mapping[str, Any]] = {}
    for shard in sorted(set(listed.values())):
        if Path(shard).name != shard or shard in (".", ".."):
            raise BundleError(f"{index}: shard {shard!r} is not a plain file name")
        path = folder / shard
        if not path.is_file():
            raise BundleError(f"{path}: missing, {index.name} names it {WAY_OUT}")
        held, wanted = set(_shapes(path, pickles)), {name for name, file in listed.items() if file == shard}
        if held != wanted:
            name, what = min((name, "not in its index" if name in held else "missing") for name in held ^ wanted)
            raise BundleError(f"{path}: {name} is {what}, so the shards are not of one model {WAY_OUT}")
    return TensorFolder(folder, {name: folder / shard for name, shard in listed.items()}, pickles)


def _shapes(path: Path, pickles: dict[Path, Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    if path.suffix != ".safetensors":
        if path not in pickles:
            pickles[path] = _load_pickle(path)
        return {name: tuple(tensor.shape) for name, tensor in pickles[path].items()}
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, not a dict
            odd = [
                name for name, part in slices.items() if part.get_dtype() not in ("F64", "F32", "F16", "BF16", "I64")
            ]
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: broken: {error} {WAY_OUT}") from error
    if odd:
        raise BundleError(f"{path}: {odd[0]} is stored as {slices[odd[0]].get_dtype()}, wanted floating point")
    return shapes


def _load_pickle(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise BundleError(f"{path}: needs torch to be read (pip install 'rsvlm[train]', or safetensors)") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a remark on the pickle's age, before it is refused
            # Mapped where the file can be: then a tensor costs memory when it is read.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise BundleError(f"{path}: refused, it is no plain tensors and might run code (wanted safetensors)") from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise BundleError(f"{path}: broken: {str(error).splitlines()[0]} {WAY_OUT}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise BundleError(f"{path}: no table of tensors (wanted a model's state)")
    return state

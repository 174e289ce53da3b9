"""A checkpoint of another family as a folder of ours: what training starts from. Tensor by tensor, no torch."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from export.checkpoint import CONFIG
from export.pack import CARD, DIALECT, Source, check_new_folder
from export.tensors import WEIGHTS
from model.weights import expected_shapes
from rsvlm_cli.runtime.bundle import TOKENIZER
from rsvlm_cli.runtime.library import replaced_folder

TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}
"""What safetensors calls numpy's types. Source: the format's description, github.com/huggingface/safetensors."""


def write_checkpoint(source: Source, out: Path) -> None:
    """Write a checkpoint folder under canonical names, tensors in the types they are stored in.

    Raises:
        OutputExists: if the folder exists.
        BundleError: if a tensor cannot be used.
    """
    check_new_folder(out)
    checkpoint, card = source.checkpoint, asdict(source.card)
    with replaced_folder(out) as folder:
        _write_tensors(folder / WEIGHTS, source)
        source.tokenizer.save(str(folder / TOKENIZER))
        for name, data in (
            (CONFIG, checkpoint.config.to_json()),
            (CARD, {key: value for key, value in card.items() if value is not None}),
            (DIALECT, source.dialect.to_json()),
        ):
            (folder / name).write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_tensors(path: Path, source: Source) -> None:
    """Write a safetensors file: the length of its head, the head, and the tensors one after another.

    Each tensor is read twice, for its type and for its values, so that only one is held.
    """
    read, shapes = source.checkpoint.read, expected_shapes(source.checkpoint.config)
    head: dict[str, dict[str, object]] = {}
    end = 0
    for name, shape in shapes.items():
        dtype = read(name).dtype
        start, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        head[name] = {"dtype": TYPES[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in shapes:
            file.write(np.ascontiguousarray(read(name)).tobytes())

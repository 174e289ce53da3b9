"""A bundle back to a checkpoint folder, so that whoever has the bundle alone can go on training (``rsvlm tune``).

Quantised weights come back as the values that they stand for. Batch norms were folded into their convolutions and come
back as norms that change nothing: they may be frozen, as beside an adapter, but not trained on.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from export.checkpoint import CONFIG
from export.layers import BATCH_NORM_EPS
from export.pack import CARD, DIALECT, Card
from model.config import ModelConfig
from model.weights import HEAD, expected_shapes
from rsvlm_cli.errors import BundleError
from rsvlm_cli.runtime.bundle import DECODER, TOKENIZER, VISION, Bundle, verify_bundle
from rsvlm_cli.runtime.embedding import TokenEmbedding
from rsvlm_cli.runtime.int4 import BlockScheme, QuantisedRows, dequantise_rows
from rsvlm_cli.runtime.library import replaced_folder

WEIGHTS = "model.safetensors"


def unpack(bundle: Bundle, out: Path) -> None:
    """Write a bundle's checkpoint folder, which appears whole or not at all.

    Args:
        bundle: with all of its experts.
        out: the folder to make; it must not be there.

    Raises:
        BundleError: if the bundle is damaged, lacks experts, or was made before bundles held their sizes.
    """
    manifest = bundle.manifest
    if not (bundle.path / CONFIG).is_file():
        raise BundleError(f"{bundle.path}: holds no {CONFIG}, so it cannot be trained on (export its checkpoint again)")
    if manifest.experts_kept is not None:
        raise BundleError(f"{bundle.path}: holds some of its experts alone (take the bundle that has them all)")
    verify_bundle(bundle)
    sizes = json.loads((bundle.path / CONFIG).read_text(encoding="utf-8"))
    config = ModelConfig.from_json(sizes)
    told = asdict(manifest) | {"mean": manifest.image.mean, "std": manifest.image.std, "tta": manifest.image.tta}
    card = {field.name: told[field.name] for field in fields(Card)}
    with replaced_folder(out) as folder:
        save_file(dict(_weights(bundle, config)), folder / WEIGHTS)
        shutil.copyfile(bundle.path / TOKENIZER, folder / TOKENIZER)
        for name, content in ((CONFIG, sizes), (CARD, card), (DIALECT, manifest.dialect)):
            (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _weights(bundle: Bundle, config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    graphs = {"vision": _open(bundle.path / VISION), "decoder": _open(bundle.path / DECODER)}
    decoder, padded = config.decoder, bundle.manifest.decoder.head_dim
    for name, shape in expected_shapes(config).items():
        stored = graphs["decoder" if name.startswith("decoder.") else "vision"]
        norm = re.fullmatch(r"(vision\.stem\..+)\.1\.(\w+)", name)
        expert = re.fullmatch(r"(.+\.experts)\.(\d+)\.(gate|up|down)_proj\.weight", name)
        attention = re.fullmatch(r"decoder\.layers\.\d+\.attention\.([qkvo])_proj\.(weight|bias)", name)
        if name == HEAD and decoder.tie_embeddings:
            continue
        if 0 in shape:
            yield name, np.zeros(shape, np.float32)
        elif norm:
            yield name, _plain_norm(norm[2], shape, stored, norm[1])
        elif name == "decoder.embed_tokens.weight":
            yield name, np.ascontiguousarray(TokenEmbedding(bundle).rows(np.arange(shape[0])))
        elif expert:
            yield name, stored.expert(expert[1], int(expert[2]), expert[3], shape)
        elif attention and attention[1] == "o":
            wide = stored.read(name, decoder.heads * padded).T
            yield name, np.ascontiguousarray(_narrow_heads(wide, decoder.heads, decoder.head_dim).T)
        elif attention:
            heads = decoder.heads if attention[1] == "q" else decoder.kv_heads
            yield name, _narrow_heads(stored.read(name, shape[-1]), heads, decoder.head_dim)
        else:
            yield name, stored.read(name, shape[-1])


def _plain_norm(part: str, shape: tuple[int, ...], stored: "_Stored", module: str) -> np.ndarray:
    """Return a part of a batch norm that only adds the bias of the convolution that its former self is folded into."""
    if part == "bias":
        return stored.read(f"{module}.0.bias", shape[-1])
    if part == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    return np.full(shape, {"weight": 1, "running_mean": 0, "running_var": 1 - BATCH_NORM_EPS}[part], np.float32)


def _narrow_heads(rows: np.ndarray, heads: int, head_dim: int) -> np.ndarray:
    """Take the padding out of each half of each head of ``(heads * K, ...)``, which `export.graph` put there."""
    halves = rows.reshape(heads, 2, -1, *rows.shape[1:])[:, :, : head_dim // 2]
    return np.ascontiguousarray(halves.reshape(heads * head_dim, *rows.shape[1:]))


class _Stored:
    """The weights of a graph by name, as the values that they stand for.

    Args:
        tensors: as they are stored.
        schemes: of those that are stored in blocks.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], schemes: Mapping[str, BlockScheme]) -> None:
        self._tensors, self._schemes = tensors, schemes

    def read(self, name: str, n_columns: int) -> np.ndarray:
        """Return a tensor in float32 whose rows, if it is stored in blocks, are of so many columns."""
        values, scales = self._tensors[name], self._tensors.get(f"{name}.scales")
        if scales is not None and name in self._schemes:
            return _dequantise(values, scales, n_columns, self._schemes[name])
        # A matrix that a vector is multiplied by is stored the other way round; tables are not.
        turned = values.ndim == 2 and not re.search(r"(embedding|lm_head)\.weight$", name)
        whole = (values.T if turned else values).astype(np.float32)
        if scales is not None:
            whole *= scales.reshape(-1, *[1] * (whole.ndim - 1))
        return np.ascontiguousarray(whole)

    def expert(self, module: str, index: int, part: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return one matrix of an expert; rows of gate and up alternate in their stack, zeros pad its width."""
        stack = f"{module}.{'down' if part == 'down' else 'gate_up'}_proj.weight"
        values, scales = self._tensors[stack][index], self._tensors.get(f"{stack}.scales")
        if scales is None:
            rows = values.astype(np.float32)
        else:
            rows = _dequantise(values, scales[index], shape[1], self._schemes[stack])
        rows = rows if part == "down" else rows[("gate", "up").index(part) :: 2]
        return np.ascontiguousarray(rows[: shape[0], : shape[1]])


def _dequantise(packed: np.ndarray, scales: np.ndarray, n_columns: int, scheme: BlockScheme) -> np.ndarray:
    n_rows, n_blocks = scales.shape
    packed = packed.reshape(n_rows, n_blocks, scheme.block_bytes)
    rows = dequantise_rows(QuantisedRows(packed=packed, scales=scales, n_columns=n_columns, scheme=scheme))
    return np.ascontiguousarray(rows)  # safetensors writes the buffer as it lies


def _open(path: Path) -> "_Stored":
    """Map the weights of a graph."""

    def mapped(tensor: TensorProto) -> np.ndarray:
        place: dict[str, Any] = {entry.key: entry.value for entry in tensor.external_data}
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.memmap(
            path.parent / place["location"], dtype, "r", offset=int(place["offset"]), shape=tuple(tensor.dims)
        )

    graph = onnx.load(path, load_external_data=False).graph
    tensors = {t.name: mapped(t) for t in graph.initializer if t.data_location == TensorProto.EXTERNAL}
    schemes: dict[str, BlockScheme] = {}
    for node in graph.node:
        told = {attribute.name: attribute.i for attribute in node.attribute}
        bits = told.get("bits", told.get("expert_weight_bits"))
        if bits is not None:
            schemes |= dict.fromkeys(node.input, BlockScheme(bits=bits, block=told["block_size"]))
    return _Stored(tensors, schemes)

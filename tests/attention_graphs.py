"""Graphs of one attention layer, of the stock operator and native, and what numpy makes of their inputs."""

from pathlib import Path

import numpy as np
from onnx import TensorProto

from export.builder import MICROSOFT, ExternalData, GraphBuilder
from export.native import to_native
from rsvlm_cli.runtime.dispatch import DOMAIN, VERSION

POSITIONS = 512


def write_attention(folder: Path, heads: int, kv_heads: int, head_dim: int) -> tuple[Path, Path]:
    """Write both graphs of one layer with a rotary table of `POSITIONS`; returns stock and native."""
    with (folder / "rotary.bin").open("wb") as file:
        graph = GraphBuilder("layer", ExternalData(file, "rotary.bin"))
        query = graph.input("query", TensorProto.FLOAT, ["B", "T", heads * head_dim])
        fresh = [graph.input(name, TensorProto.FLOAT, ["B", "T", kv_heads * head_dim]) for name in ("key", "value")]
        cache: list[int | str] = ["B", kv_heads, "S", head_dim]
        past = [graph.input(f"past_{name}", TensorProto.FLOAT, cache) for name in ("key", "value")]
        lengths = [graph.input("seqlens_k", TensorProto.INT32, ["B"]), graph.input("total", TensorProto.INT32, [])]
        cosine, sine = rotary(head_dim)
        outputs = [graph.output("y", TensorProto.FLOAT, ["B", "T", heads * head_dim])]
        outputs += [graph.output(f"present_{name}", TensorProto.FLOAT, cache) for name in ("key", "value")]
        graph.node(
            "GroupQueryAttention",
            "layer",
            [query, *fresh, *past, *lengths, graph.weight("cosine", cosine), graph.weight("sine", sine)],
            outputs,
            MICROSOFT,
            num_heads=heads,
            kv_num_heads=kv_heads,
            do_rotary=1,
            scale=head_dim**-0.5,
        )
        graph.save(folder / "stock.onnx")
        graph.save(folder / "native.onnx", to_native(graph.nodes, graph.outputs), {DOMAIN: VERSION})
    return folder / "stock.onnx", folder / "native.onnx"


def write_tower_attention(folder: Path, heads: int, head_dim: int) -> tuple[Path, Path]:
    """Write both graphs of one layer in which every token attends to all; returns stock and native."""
    with (folder / "none.bin").open("wb") as file:
        graph = GraphBuilder("layer", ExternalData(file, "none.bin"))
        shape: list[int | str] = ["B", "T", heads * head_dim]
        inputs = [graph.input(name, TensorProto.FLOAT, shape) for name in ("query", "key", "value")]
        y = graph.op("Attention", "layer", inputs, q_num_heads=heads, kv_num_heads=heads)
        graph.node("Identity", "layer", [y], [graph.output("y", TensorProto.FLOAT, shape)])
        graph.save(folder / "stock.onnx")
        graph.save(folder / "native.onnx", to_native(graph.nodes, graph.outputs), {DOMAIN: VERSION})
    return folder / "stock.onnx", folder / "native.onnx"


def rotary(head_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine and sine ``(POSITIONS, head_dim / 2)`` float32."""
    angle = np.arange(POSITIONS)[:, None] * 1e4 ** (-np.arange(0, head_dim, 2) / head_dim)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def attend(inputs: dict[str, np.ndarray], heads: int, head_dim: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return for each sequence y ``(n, heads * head_dim)`` and its keys and values ``(G, length, head_dim)``, float64.

    n is T, or where the cache was empty the sequence's own length: tokens behind it are padding.
    """
    total, tokens = int(inputs["total"]), inputs["query"].shape[1]
    found = []
    for b, last in enumerate(inputs["seqlens_k"].tolist()):
        past, n = (0, last + 1) if tokens == total else (last + 1 - tokens, tokens)
        split = {
            name: inputs[name][b, :n].astype(np.float64).reshape(n, -1, head_dim) for name in ("query", "key", "value")
        }
        split = {name: part.transpose(1, 0, 2) for name, part in split.items()}
        cosine, sine = (part[past : past + n].astype(np.float64) for part in rotary(head_dim))

        def turn(x: np.ndarray, cosine: np.ndarray = cosine, sine: np.ndarray = sine) -> np.ndarray:
            low, high = np.split(x, 2, axis=-1)
            return np.concatenate([low * cosine - high * sine, high * cosine + low * sine], axis=-1)

        keys = np.concatenate([inputs["past_key"][b, :, :past], turn(split["key"])], axis=1)
        values = np.concatenate([inputs["past_value"][b, :, :past], split["value"]], axis=1)
        of_head = np.arange(heads) // (heads // len(keys))
        scores = turn(split["query"]) @ keys[of_head].transpose(0, 2, 1) * head_dim**-0.5
        scores[:, np.arange(past + n) > past + np.arange(n)[:, None]] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        found.append(((weights @ values[of_head]).transpose(1, 0, 2).reshape(n, -1), keys, values))
    return found

"""Graphs of one ``ExpertMLP``: of stock operators as export writes them, and native over the same bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto

from export.builder import ExternalData, GraphBuilder
from export.dispatch import EXPERT, write_router
from export.dispatch import write_experts as write_stock_experts
from export.layers import LayerWriter
from export.native import to_native
from export.quantise import ErrorLog
from rsvlm_cli.runtime.dispatch import DOMAIN, VERSION, PackedExperts
from rsvlm_cli.runtime.int4 import QuantisedRows
from rsvlm_cli.runtime.ops import native_library


def write_experts(folder: Path, weights: PackedExperts) -> tuple[Path, Path]:
    """Write both graphs ``x (B, T, D), expert (B,) -> y`` over one file of weights; returns stock and native."""
    with (folder / "weights.bin").open("wb") as file:
        graph = GraphBuilder("layer", ExternalData(file, "weights.bin"))
        x = graph.input("x", TensorProto.FLOAT, ["B", "T", weights.down.shape[1]])
        graph.input(EXPERT, TensorProto.INT64, ["B"])
        _, router = write_router(graph, "router", x, weights.n_experts)
        names = ("gate_up", "gate_up_scales", "down", "down_scales")
        stored = [graph.weight(name, getattr(weights, name)) for name in names]
        y = write_stock_experts(graph, "experts", x, router, stored, weights.scheme)
        graph.node("Identity", "layer", [y], [graph.output("y", TensorProto.FLOAT, ["B", "T", weights.down.shape[1]])])
        graph.save(folder / "stock.onnx")
        graph.save(folder / "native.onnx", to_native(graph.nodes, graph.outputs), {DOMAIN: VERSION})
    return folder / "stock.onnx", folder / "native.onnx"


def write_linear(folder: Path, rows: QuantisedRows, bias: np.ndarray) -> Path:
    """Write the native graph ``x (T, K) -> y`` of one linear layer, made from the stock one."""
    with (folder / "weights.bin").open("wb") as file:
        graph = GraphBuilder("layer", ExternalData(file, "weights.bin"))
        x = graph.input("x", TensorProto.FLOAT, ["T", rows.n_columns])
        stored = [graph.weight("weight", rows.packed), graph.weight("scales", rows.scales)]
        writer = LayerWriter(graph, None, ErrorLog())
        y = writer.matmul_blocks("linear", x, rows, stored, graph.weight("bias", bias))
        graph.node("Identity", "layer", [y], [graph.output("y", TensorProto.FLOAT, ["T", len(bias)])])
        graph.save(folder / "native.onnx", to_native(graph.nodes, graph.outputs), {DOMAIN: VERSION})
    return folder / "native.onnx"


def write_projections(folder: Path, weights: Sequence[QuantisedRows], biases: Sequence[np.ndarray]) -> Path:
    """Write the native graph ``x (1, T, K) -> query, key, value``, and an attention over them, from the stock one."""
    with (folder / "weights.bin").open("wb") as file:
        graph = GraphBuilder("layer", ExternalData(file, "weights.bin"))
        x, outputs = graph.input("x", TensorProto.FLOAT, [1, "T", weights[0].n_columns]), list[str]()
        writer = LayerWriter(graph, None, ErrorLog())
        for name, rows, bias in zip("qkv", weights, biases, strict=True):
            stored = [graph.weight(f"{name}.weight", rows.packed), graph.weight(f"{name}.scales", rows.scales)]
            outputs.append(writer.matmul_blocks(name, x, rows, stored, graph.weight(f"{name}.bias", bias)))
        y = graph.op("Attention", "attention", outputs, q_num_heads=1, kv_num_heads=1)
        for name, value in zip(("query", "key", "value", "y"), (*outputs, y), strict=True):
            graph.node("Identity", "layer", [value], [graph.output(name, TensorProto.FLOAT, [1, "T", None])])
        graph.save(folder / "native.onnx", to_native(graph.nodes, graph.outputs), {DOMAIN: VERSION})
    return folder / "native.onnx"


def open_graph(path: Path, threads: int = 1) -> ort.InferenceSession:
    """Open a graph with the native operators at hand."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    if library := native_library():
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def random_experts(rng: np.random.Generator, n_experts: int, hidden: int, width: int) -> list[np.ndarray]:
    """Draw gate, up and down that keep activations near one."""
    shapes = ((n_experts, width, hidden), (n_experts, width, hidden), (n_experts, hidden, width))
    return [(rng.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32) for shape in shapes]

"""The expert-dispatch operator beside ONNX Runtime's own 4-bit path, layer by layer, at the 1B model's shape.

Three graphs of the same stacked MLPs, random weights: ``MatMulNBits`` without any choice of expert (the fastest stock
form there is), ``QMoE`` with a choice of three (what a bundle's stock graph does), and ``ExpertMLP``. They take turns
in each round of one run, so that whatever else the machine does meets all alike; quoted is the median of their ratios.
Run from the checkout's root on an idle machine: ``python -m benchmarks.dispatch``.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto

from export.builder import MICROSOFT, ExternalData, GraphBuilder
from export.dispatch import ACCURACY_LEVEL, EXPERT, write_experts, write_router
from export.native import to_native
from rsvlm_cli.runtime.dispatch import DOMAIN, VERSION
from rsvlm_cli.runtime.int4 import BlockScheme
from rsvlm_cli.runtime.ops import build_native, native_kernels
from rsvlm_cli.runtime.sessions import open_session

HIDDEN, WIDTH, EXPERTS = 896, 4864, 3
DECODE, PREFILL = 1, 760
STOCK, MOE, OURS = "MatMulNBits, one expert", "QMoE, choice of 3", "ExpertMLP, choice of 3"


class LayerStack:
    """Graphs of MLP layers, each behind a norm, one after another."""

    def __init__(self, folder: Path, n_layers: int, scheme: BlockScheme, threads: int) -> None:
        self.folder, self.n_layers, self.scheme, self.threads = folder, n_layers, scheme, threads
        self.rng = np.random.default_rng(0)

    def weights(self, graph: GraphBuilder, name: str, shape: tuple[int, ...], columns: int) -> list[str]:
        """Draw a packed weight; integers of any value are as good as a model's for timing."""
        blocks = self.scheme.n_blocks(columns)
        of_row = (blocks * self.scheme.block_bytes,) if len(shape) > 1 else (blocks, self.scheme.block_bytes)
        packed = self.rng.integers(0, 256, (*shape, *of_row), np.uint8)
        scales = (self.rng.random((*shape, blocks), np.float32) + 0.5) * columns**-0.5 / 8
        return [graph.weight(name, packed), graph.weight(f"{name}.scales", scales)]

    def moe_layer(self, graph: GraphBuilder, layer: str, x: str, router: str) -> str:
        """One layer of three experts."""
        stored = self.weights(graph, f"{layer}.gate_up", (EXPERTS, 2 * WIDTH), HIDDEN)
        stored += self.weights(graph, f"{layer}.down", (EXPERTS, HIDDEN), WIDTH)
        return write_experts(graph, layer, x, router, stored, self.scheme)

    def stock_layer(self, graph: GraphBuilder, layer: str, x: str, _: str) -> str:
        """One layer of one expert."""

        def matmul(value: str, name: str, rows: int, columns: int) -> str:
            packed, scales = self.weights(graph, f"{layer}.{name}", (rows,), columns)
            sizes = {"K": columns, "N": rows, "bits": self.scheme.bits, "block_size": self.scheme.block}
            inputs = [value, packed, scales]
            return graph.op("MatMulNBits", layer, inputs, MICROSOFT, accuracy_level=ACCURACY_LEVEL, **sizes)

        gate, up = matmul(x, "gate", WIDTH, HIDDEN), matmul(x, "up", WIDTH, HIDDEN)
        gate = graph.op("Mul", layer, [gate, graph.op("Sigmoid", layer, [gate])])
        return matmul(graph.op("Mul", layer, [gate, up]), "down", HIDDEN, WIDTH)

    def write(self, name: str, layer: Callable[[GraphBuilder, str, str, str], str]) -> dict[str, Path]:
        """Write a stack; returns the stock graph's and the native graph's files."""
        with (self.folder / f"{name}.bin").open("wb") as file:
            graph = GraphBuilder(name, ExternalData(file, f"{name}.bin"))
            x = graph.input("x", TensorProto.FLOAT, ["B", "T", HIDDEN])
            graph.input(EXPERT, TensorProto.INT64, ["B"])
            _, router = write_router(graph, "router", x, EXPERTS)
            one = graph.weight("one", np.ones(HIDDEN, np.float32))
            for i in range(self.n_layers):
                y = layer(graph, f"layers.{i}", x, router)
                x = graph.op("SimplifiedLayerNormalization", f"layers.{i}", [y, one], axis=-1, epsilon=1e-6)
            graph.node("Identity", "out", [x], [graph.output("y", TensorProto.FLOAT, ["B", "T", HIDDEN])])
            paths = {form: self.folder / f"{name}.{form}.onnx" for form in ("stock", "native")}
            graph.save(paths["stock"])
            graph.save(paths["native"], to_native(graph.nodes, graph.outputs), {DOMAIN: VERSION})
        return paths

    def open(self, path: Path) -> tuple[ort.InferenceSession, float]:
        """Open a graph; returns the session and the seconds that it took."""
        start = time.perf_counter()
        session = open_session(path, {DOMAIN: VERSION}, "cpu", self.threads)
        return session, time.perf_counter() - start


def measure(sessions: dict[str, ort.InferenceSession], n_tokens: int, n_rounds: int) -> dict[str, list[float]]:
    """Run every session once a round, the first rounds uncounted; milliseconds of each run."""
    x = np.random.default_rng(1).standard_normal((1, n_tokens, HIDDEN)).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(n_rounds + 2):
        for name, session in sessions.items():
            known = {value.name for value in session.get_inputs()}
            inputs = {k: v for k, v in {"x": x, EXPERT: np.array([1])}.items() if k in known}
            start = time.perf_counter()
            session.run(None, inputs)
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: one[2:] for name, one in times.items()}


def compare(scheme: BlockScheme, n_layers: int, threads: int, rounds: tuple[int, int]) -> list[str]:
    """Return the table's lines for one scheme; ``rounds`` are of decoding and of prefill."""
    with tempfile.TemporaryDirectory() as name:
        stack = LayerStack(Path(name), n_layers, scheme, threads)
        moe = stack.write("moe", stack.moe_layer)
        plain = stack.write("plain", stack.stock_layer)
        opened = {STOCK: stack.open(plain["stock"]), MOE: stack.open(moe["stock"]), OURS: stack.open(moe["native"])}
        sessions = {form: session for form, (session, _) in opened.items()}
        decode, prefill = (measure(sessions, n, r) for n, r in zip((DECODE, PREFILL), rounds, strict=True))
    lines = []
    for form, (_, load_s) in opened.items():
        cells = [f"{load_s:.2f}"]
        for times in (decode, prefill):
            middle = statistics.median(times[form])
            share = statistics.median([ours / stock for ours, stock in zip(times[form], times[STOCK], strict=True)])
            cells += [f"{middle / n_layers:.3f}", f"{min(times[form]) / n_layers:.3f}", f"{share:.2f}"]
        lines.append(f"| int{scheme.bits} b{scheme.block} | {form} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, nargs=2, default=(60, 5), metavar=("DECODE", "PREFILL"))
    parser.add_argument("--schemes", nargs="+", default=["4:128", "4:32"], help="bits:block")
    options, library = parser.parse_args(), build_native()
    heads = [f"{part}, ms a layer | least | of stock" for part in ("token", f"{PREFILL} tokens")]
    print("| weights | graph | load s | " + " | ".join(heads) + " |")
    print("|---|---|---|---|---|---|---|---|---|")
    for text in options.schemes:
        bits, block = map(int, text.split(":"))
        rounds = (options.rounds[0], options.rounds[1])
        for line in compare(BlockScheme(bits=bits, block=block), options.layers, options.threads, rounds):
            print(line, flush=True)
    where = f"{native_kernels(library)} kernels, {platform.machine()}, ONNX Runtime {ort.__version__}"
    print(f"\n{options.layers} layers, {options.threads} threads, {where}")


if __name__ == "__main__":
    main()

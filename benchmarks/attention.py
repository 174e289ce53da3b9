"""Attention beside ONNX Runtime's own, at the 1B model's shape: one token behind a long prompt, and a prompt.

Two graphs of the same layers, each with its own cache, bound as the decoder binds it: the past's memory is the
present's. They take turns in each round of one run, so that whatever else the machine does meets both alike; quoted is
the median of their ratios. What a token reads of keys and values is set against the fastest that as many threads read
as much memory. Run from the checkout's root on an idle machine: ``python -m benchmarks.attention``.
"""

import argparse
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto

from export.builder import MICROSOFT, ExternalData, GraphBuilder
from export.native import to_native
from rsvlm_cli.runtime.dispatch import DOMAIN, VERSION
from rsvlm_cli.runtime.ops import build_native, native_kernels
from rsvlm_cli.runtime.sessions import open_session

HEADS, KV_HEADS, HEAD_DIM = 14, 2, 64
STOCK, OURS = "com.microsoft", "rsvlm"
CASES = {"token behind 760": (1, 760), "token behind 3700": (1, 3700), "prompt of 760": (760, 760)}
"""Tokens of a call, and tokens of the sequence then."""


def write_stack(folder: Path, n_layers: int) -> dict[str, Path]:
    """Write attention layers, each of which asks with what the one before answered; returns both graphs' files."""
    longest = max(total for _, total in CASES.values())
    angle = np.arange(longest)[:, None] * 1e6 ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    with (folder / "rotary.bin").open("wb") as file:
        graph = GraphBuilder("attention", ExternalData(file, "rotary.bin"))
        x = graph.input("query", TensorProto.FLOAT, ["B", "T", HEADS * HEAD_DIM])
        fresh = [graph.input(name, TensorProto.FLOAT, ["B", "T", KV_HEADS * HEAD_DIM]) for name in ("key", "value")]
        lengths = [graph.input("seqlens_k", TensorProto.INT32, ["B"]), graph.input("total", TensorProto.INT32, [])]
        rotary = [graph.weight(part.__name__, part(angle).astype(np.float32)) for part in (np.cos, np.sin)]
        shape: list[int | str] = ["B", KV_HEADS, "S", HEAD_DIM]
        sizes = {"num_heads": HEADS, "kv_num_heads": KV_HEADS, "do_rotary": 1, "scale": HEAD_DIM**-0.5}
        for i in range(n_layers):
            past = [graph.input(f"past.{i}.{part}", TensorProto.FLOAT, shape) for part in ("key", "value")]
            present = [graph.output(f"present.{i}.{part}", TensorProto.FLOAT, shape) for part in ("key", "value")]
            inputs, outputs = [x, *fresh, *past, *lengths, *rotary], [f"/layers.{i}/output_0", *present]
            x = graph.node("GroupQueryAttention", f"layers.{i}", inputs, outputs, MICROSOFT, **sizes)[0]
        graph.node("Identity", "out", [x], [graph.output("y", TensorProto.FLOAT, ["B", "T", HEADS * HEAD_DIM])])
        paths = {STOCK: folder / "stock.onnx", OURS: folder / "native.onnx"}
        graph.save(paths[STOCK])
        graph.save(paths[OURS], to_native(graph.nodes, graph.outputs), {DOMAIN: VERSION})
    return paths


def bind(path: Path, threads: int, tokens: int, total: int) -> tuple[ort.InferenceSession, ort.IOBinding]:
    """Open a graph and bind random inputs and caches to it."""
    session = open_session(path, {DOMAIN: VERSION}, "cpu", threads)
    binding, rng = session.io_binding(), np.random.default_rng(0)
    for value in session.get_inputs():
        if value.name.startswith("past"):
            cache = rng.standard_normal((1, KV_HEADS, total, HEAD_DIM), np.float32)
            buffer = ort.OrtValue.ortvalue_from_numpy(cache)
            binding.bind_ortvalue_input(value.name, buffer)
            binding.bind_ortvalue_output(value.name.replace("past", "present"), buffer)
        elif value.name in ("query", "key", "value"):
            binding.bind_cpu_input(value.name, rng.standard_normal((1, tokens, value.shape[-1]), np.float32))
    binding.bind_cpu_input("seqlens_k", np.array([total - 1], np.int32))
    binding.bind_cpu_input("total", np.array(total, np.int32))
    binding.bind_output("y")
    return session, binding


def seconds_of(bound: tuple[ort.InferenceSession, ort.IOBinding]) -> float:
    """Return the seconds of one run."""
    session, binding = bound
    start = time.perf_counter()
    session.run_with_iobinding(binding)
    return time.perf_counter() - start


def read_rate(n_bytes: int, threads: int, n_rounds: int) -> float:
    """Return the greatest rate, GB/s, at which so many threads read so many bytes."""
    parts = [np.ones(n_bytes // 4 // threads, np.float32) for _ in range(threads)]
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(n_rounds + 2):
            start = time.perf_counter()
            list(pool.map(lambda part: part.dot(part), parts))
            times.append(time.perf_counter() - start)
    return n_bytes / min(times) / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, nargs=2, default=(60, 7), metavar=("DECODE", "PREFILL"))
    options, library = parser.parse_args(), build_native()
    print("| call | operator | ms a layer | least | of stock | GB/s | of memory's |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        paths = write_stack(Path(name), options.layers)
        for case, (tokens, total) in CASES.items():
            n_rounds = options.rounds[tokens > 1]
            bound = {form: bind(path, options.threads, tokens, total) for form, path in paths.items()}
            rounds = [{form: seconds_of(one) for form, one in bound.items()} for _ in range(n_rounds + 2)][2:]
            n_bytes = 2 * options.layers * KV_HEADS * total * HEAD_DIM * 4
            limit = read_rate(n_bytes, options.threads, n_rounds) if tokens == 1 else 0
            for form in paths:
                times = [one[form] for one in rounds]
                share = statistics.median([one[form] / one[STOCK] for one in rounds])
                cells = [f"{of(times) / options.layers * 1e3:.3f}" for of in (statistics.median, min)]
                rate = n_bytes / min(times) / 1e9
                cells += [f"{share:.2f}", *((f"{rate:.1f}", f"{rate / limit:.2f}") if limit else ("", ""))]
                print(f"| {case} | {form} | " + " | ".join(cells) + " |", flush=True)
    where = f"{native_kernels(library)} kernels, {platform.machine()}, ONNX Runtime {ort.__version__}"
    print(f"\n{options.layers} layers, {options.threads} threads, {where}")


if __name__ == "__main__":
    main()

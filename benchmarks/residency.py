"""What of the 1B model's decoder is in memory, and when: at load, after one granularity was asked, after all three.

A decoder of RSUniVLM's sizes with random bytes for weights (nothing here depends on their values), as export writes it:
stock operators and native ones over one file. Each graph is opened in a new process; memory is the kernel's own account
of it (``/proc/self/smaps``, so Linux alone). Run from the checkout's root: ``python -m benchmarks.residency``.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import export.graph
import export.layers
from export.builder import ExternalData, GraphBuilder
from export.graph import write_decoder
from export.layers import LayerWriter
from export.native import to_native
from export.quantise import ErrorLog, ProfileName, make_profile
from model.config import DecoderConfig, ModelConfig, VisionConfig
from rsvlm_cli.runtime.dispatch import DOMAIN, VERSION
from rsvlm_cli.runtime.int4 import BlockScheme, QuantisedRows
from rsvlm_cli.runtime.ops import build_native
from rsvlm_cli.runtime.sessions import open_session

DECODER = DecoderConfig(
    vocab_size=151936, hidden_size=896, intermediate_size=4864, layers=24, heads=14, kv_heads=2, tie_embeddings=True
)
PROMPT, SLOTS = 32, 1024


class RandomWeights:
    """A checkpoint whose tensors are made when they are read."""

    def __init__(self) -> None:
        tower = VisionConfig(
            image_size=384, patch_size=14, hidden_size=1152, intermediate_size=4304, layers=26, heads=16
        )
        self.config = ModelConfig(vision=tower, decoder=DECODER)

    def read(self, name: str) -> np.ndarray:
        """Return a tensor; of matrices only the shape counts, for `random_rows` draws their bytes."""
        d = DECODER
        narrow = d.kv_heads * d.head_dim if re.search(r"\.[kv]_proj", name) else d.hidden_size
        if name.endswith("bias") or "norm" in name:
            return np.ones(narrow if "proj" in name else d.hidden_size, np.float32)
        rows = {"embed": d.vocab_size, "gate": d.intermediate_size, "up_pr": d.intermediate_size}
        n_rows = next((n for key, n in rows.items() if key in name), narrow)
        return np.broadcast_to(np.float32(0), (n_rows, d.intermediate_size if "down" in name else d.hidden_size))


def random_rows(name: str, weight: np.ndarray, scheme: BlockScheme, log: ErrorLog) -> QuantisedRows:
    """Stand in for `export.quantise.quantise_blocks`: bytes of the right number, without the hours of rounding."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))  # ONNX Runtime packs equal weights once
    blocks = scheme.n_blocks(weight.shape[1])
    packed = rng.integers(0, 256, (len(weight), blocks, scheme.block_bytes), np.uint8)
    scales = np.full((len(weight), blocks), weight.shape[1] ** -0.5 / 64, np.float32)
    return QuantisedRows(packed=packed, scales=scales, n_columns=weight.shape[1], scheme=scheme)


def write_graphs(folder: Path, block: int) -> None:
    """Write both decoder graphs."""
    export.graph.quantise_blocks = export.layers.quantise_blocks = random_rows  # type: ignore[attr-defined]
    with (folder / "decoder.bin").open("wb") as file:
        graph = GraphBuilder("decoder", ExternalData(file, "decoder.bin"))
        writer = LayerWriter(graph, RandomWeights(), ErrorLog())  # type: ignore[arg-type]
        write_decoder(writer, make_profile(ProfileName.INT4, block=block), SLOTS)
        graph.save(folder / "stock.onnx")
        graph.save(folder / "native.onnx", to_native(graph.nodes, graph.outputs), {DOMAIN: VERSION})


def read_memory(file: Path) -> dict[str, int]:
    """Return the MiB of this process that are anonymous, and that are mapped from a file and present."""
    anonymous = mapped = 0
    for entry in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        sizes = {key: int(kb) for key, kb in re.findall(r"^(\w+): +(\d+) kB", entry, re.MULTILINE)}
        anonymous += sizes["Anonymous"]
        mapped += sizes["Rss"] if str(file) in entry else 0
    return {"anonymous": anonymous // 1024, "mapped": mapped // 1024}


def watch(path: Path, threads: int, n_steps: int) -> dict[str, Any]:
    """Open a graph in this process and ask each expert in turn."""
    before = read_memory(path.parent)
    start = time.perf_counter()
    session = open_session(path, {DOMAIN: VERSION}, "cpu", threads)
    facts: dict[str, Any] = {"load_s": round(time.perf_counter() - start, 3)}
    stages = {"loaded": read_memory(path.with_name("decoder.bin"))}
    cache = np.zeros((1, DECODER.kv_heads, SLOTS, DECODER.head_dim), np.float32)
    inputs = {value.name for value in session.get_inputs()}
    past = {name: cache for name in inputs if name.startswith("past")}
    for expert in range(DECODER.experts):
        seconds = []
        for step, n_tokens in enumerate([PROMPT] + [1] * n_steps):
            total = PROMPT + step
            feeds: dict[str, np.ndarray] = {
                "inputs_embeds": np.ones((1, n_tokens, DECODER.hidden_size), np.float32),
                "expert": np.array([expert], np.int64),
                "seqlens_k": np.array([total - 1], np.int32),
                "total_sequence_length": np.array(total, np.int32),
                "n_logits": np.array(1, np.int64),
            }
            start = time.perf_counter()
            session.run(["logits"], {k: v for k, v in feeds.items() if k in inputs} | past)
            seconds.append(time.perf_counter() - start)
        stages[f"expert {expert} asked"] = read_memory(path.with_name("decoder.bin"))
    for part in ("anonymous", "mapped"):
        facts[part] = {
            stage: memory[part] - (before[part] if part == "anonymous" else 0) for stage, memory in stages.items()
        }
    return facts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        print(json.dumps(watch(options.watch, options.threads, 2)))
        return
    build_native()
    with tempfile.TemporaryDirectory() as name:
        write_graphs(Path(name), options.block)
        size = (Path(name) / "decoder.bin").stat().st_size / 2**20
        print(f"1B decoder, int4 b{options.block}: {size:.0f} MiB of weights\n")
        print("| graph | load s | MiB | loaded | image asked | region too | pixel too |\n|---|---|---|---|---|---|---|")
        for graph in ("stock", "native"):
            path = Path(name) / f"{graph}.onnx"
            command = [
                sys.executable,
                "-m",
                "benchmarks.residency",
                "--watch",
                str(path),
                "--threads",
                str(options.threads),
            ]
            facts = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            for part in ("anonymous", "mapped"):
                cells = " | ".join(str(mib) for mib in facts[part].values())
                print(f"| {graph} | {facts['load_s']:.2f} | {part} | {cells} |", flush=True)


if __name__ == "__main__":
    main()

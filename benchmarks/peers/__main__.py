"""The 1B model beside its peers, on this machine: ours, llama.cpp, onnxruntime-genai, transformers, ONNX Runtime.

``python -m benchmarks.peers --folder DIR`` makes one random model of the released sizes in every contender's form
(15 GB, kept in DIR for the next run) and measures decoding, a prompt of 760 tokens, a tile of 384 px, opening, memory,
and a cold start to 32 tokens. Every contender is a process of its own, and they take turns, round by round. Files are
read through once before they are opened, so that a disk is never what is measured. Written are DIR/peers.md and
DIR/peers.json, after every round. Peers come with ``pip install 'rsvlm[bench]'``; one that is missing is left out.
llama.cpp must be compiled for this very CPU, which its package does by itself. By GCC 12, on a CPU with matrix units
(AMX), it dies at its first product, because that compiler drops the stores of a tile configuration.

Unfair to us: our times hold tokeniser, sampling with the released penalty and text, and a tile's preprocessing; the
peers' are bare passes and the greatest logit. Unfair to llama.cpp and onnxruntime-genai: they have no tower here.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.full_size import write_rasters
from benchmarks.peers.contenders import DECODERS, TOWERS, Contender
from benchmarks.peers.models import make_model, released_config
from benchmarks.peers.plan import REPLY
from benchmarks.peers.table import COLD, Results, page
from benchmarks.process import run
from model.config import ModelConfig
from rsvlm_cli.runtime.native.build import find_compiler
from rsvlm_cli.runtime.ops import build_native, describe_native

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Path(__file__).with_name("limits.cpp")
PACKAGES = ("onnxruntime", "onnxruntime-genai", "llama_cpp_python", "torch", "transformers")
QUESTION = "What is this place?"
CUT_SHORT = 5
"""The exit code of a reply that spent its whole budget, as noise does where any text may be said."""


def is_wanted(contender: Contender, only: Sequence[str]) -> bool:
    """Return whether a contender is measured: ours always, another where no names are given or one is in its own."""
    return contender.name.startswith("ours") or not only or any(part in contender.name for part in only)


def read_through(path: Path) -> float:
    """Read a file, or a folder's files, into the page cache; returns their size in 10^9 bytes."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.read(1 << 22):
                pass
    return sum(file.stat().st_size for file in files) / 1e9


def measure_contender(contender: Contender, folder: Path, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run a contender once.

    Raises:
        SystemExit: if it fails, with its last line.
    """
    model = folder / contender.model
    files_gb = read_through(model)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.peers.child", contender.part, contender.module]
    command += [str(model), "--option", contender.option, "--threads", str(options.threads)]
    step = run(contender.name, [*command, "--repeats", str(options.repeats)], environment(options), work)
    if step.code != 0:
        raise SystemExit(f"{contender.name}: exit {step.code}: {step.stderr.strip()[-300:]}")
    facts: dict[str, Any] = json.loads(step.stdout.splitlines()[-1])
    return facts | {"peak_gb": [step.peak_gb], "files_gb": [files_gb]}


def measure_cold(bundle: str, folder: Path, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Ask a question as a user does.

    Raises:
        SystemExit: if that fails, or the reply is not `REPLY` tokens long.
    """
    model = folder / bundle
    read_through(model)
    command = [sys.executable, "-m", "rsvlm_cli", "ask", "after.tif", QUESTION]
    command += ["--model", str(model), "--max-tokens", str(REPLY)]
    step = run(COLD[bundle], command, environment(options), work)
    if step.code != CUT_SHORT:
        raise SystemExit(f"{COLD[bundle]}: exit {step.code}, wanted {CUT_SHORT}: {step.stderr.strip()[-300:]}")
    return {"seconds": [step.seconds], "peak_gb": [step.peak_gb]}


def environment(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment of every contender."""
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "RSVLM_THREADS")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **threads, "PYTHONPATH": path, "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}


def measure_machine(program: Path | None, threads: int) -> dict[str, float]:
    """Measure the machine's limits."""
    if program is None:
        return {}
    done = subprocess.run([program, str(threads)], stdout=subprocess.PIPE, check=True)
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def compile_limits(folder: Path) -> Path | None:
    """Compile ``limits.cpp`` for this machine, or return None where there is no compiler."""
    compiler = find_compiler()
    if compiler is None:
        return None
    program = folder / "limits"
    flags = ["-std=c++17", "-O2", "-march=native", "-pthread"]
    subprocess.run([compiler, *flags, str(LIMITS), "-o", str(program)], check=True)
    return program


def measure_round(
    contenders: Sequence[Contender], folder: Path, options: argparse.Namespace, work: Path
) -> dict[str, dict[str, Any]]:
    """Run every contender and every cold start once."""
    facts = {}
    for contender in contenders:
        facts[contender.name] = measure_contender(contender, folder, options, work)
        print(f"  {contender.name}", file=sys.stderr, flush=True)
    return facts | {name: measure_cold(bundle, folder, options, work) for bundle, name in COLD.items()}


def describe_run(options: argparse.Namespace, sizes: ModelConfig, n_rounds: int) -> str:
    """Return what was run where."""
    installed = {distribution.name.replace("-", "_").lower() for distribution in metadata.distributions()}
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES if name.replace("-", "_").lower() in installed]
    d, v = sizes.decoder, sizes.vision
    shape = f"{d.layers} layers of width {d.hidden_size}, {d.vocab_size} tokens, {d.experts} experts"
    turns = f"{n_rounds} interleaved rounds of {options.repeats} turns, {options.threads} threads"
    place = f"{cpu_name()}, {platform.machine()}, Python {platform.python_version()}"
    return (
        f"Decoder of {shape}; tower of {v.layers} layers. {turns}; {place}; {describe_native()}; {', '.join(versions)}."
    )


def cpu_name() -> str:
    """Return the processor's name, as the kernel has it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Make what is missing, measure, print and write."""
    config = released_config(options.layers)
    everyone = (*DECODERS, *TOWERS)
    absent = [contender for contender in everyone if contender.missing]
    present = [contender for contender in everyone if not contender.missing and is_wanted(contender, options.only)]
    notes = [f"Left out: {c.name} ({', '.join(c.missing)} missing; pip install 'rsvlm[bench]')." for c in absent]
    for note in notes:
        print(note, file=sys.stderr)
    build_native()
    for model in dict.fromkeys(contender.model for contender in present):
        make_model(folder, model, config)
    if options.make:
        return
    sizes = ModelConfig.from_released(dict(config))
    rounds: list[Mapping[str, Any]] = []
    machine: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_rasters(work)
        program = compile_limits(work)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            rates = measure_machine(program, options.threads)
            machine = {kind: max(rate, machine.get(kind, 0)) for kind, rate in rates.items()}
            rounds.append(measure_round(present, folder, options, work))
            results = Results(rounds, machine, sizes)
            text = page(results, describe_run(options, sizes, len(rounds)), notes)
            (folder / "peers.md").write_text(text, "utf-8")
            facts = {"run": describe_run(options, sizes, len(rounds)), "machine": machine, "rounds": rounds}
            (folder / "peers.json").write_text(json.dumps(facts), "utf-8")
    print(text)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where models are made and kept (default: a temporary folder)")
    parser.add_argument("--layers", type=int, help="a smaller model, to try the command (default: the released sizes)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2, help="timed turns of a contender in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[], metavar="PEER", help="peers by a part of their names")
    parser.add_argument("--make", action="store_true", help="make the models and measure nothing")
    options = parser.parse_args()
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options.folder, options)
        return
    with tempfile.TemporaryDirectory(prefix="peers.") as name:
        measure(Path(name), options)


if __name__ == "__main__":
    main()

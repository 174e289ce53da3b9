"""How fast the tool starts and answers, beside the time that ``import torch`` alone takes.

Every command is a new process. The commands take turns in each round, so that whatever else the machine does meets all
of them alike; what is quoted is the ratio of medians. Run from the checkout's root: ``python -m benchmarks.startup``.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

SIDE_PX = 1024
TORCH = 'python -c "import torch"'


def make_raster(path: Path) -> None:
    """Write a made GeoTIFF of ``SIDE_PX`` squared, three bands of 8 bit: smooth ground with noise."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    noise = np.random.default_rng(0).normal(0, 10, (3, SIDE_PX, SIDE_PX))
    pixels = np.clip(np.stack([80 + 60 * x, 100 + 40 * y, 70 + 30 * x * y]) + noise, 0, 255).astype(np.uint8)
    profile = {"driver": "GTiff", "count": 3, "width": SIDE_PX, "height": SIDE_PX, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 0.5, 0.5)}
    with rasterio.open(path, "w", **profile, **place) as dataset:
        dataset.write(pixels)


def time_once(command: list[str]) -> float:
    """Return the wall time of one new process in seconds.

    Raises:
        SystemExit: if the command fails; its last line is the message.
    """
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return seconds


def measure(commands: dict[str, list[str]], n_rounds: int) -> dict[str, list[float]]:
    """Time every command once a round, after one round that fills the page cache and is not counted."""
    rounds = [{name: time_once(command) for name, command in commands.items()} for _ in range(n_rounds + 1)]
    return {name: [one[name] for one in rounds[1:]] for name in commands}


def table(times: dict[str, list[float]]) -> str:
    """Return the Markdown table."""
    torch_s = statistics.median(times[TORCH])
    lines = [f"| new process | median s | least s | of `{TORCH}` |", "|---|---|---|---|"]
    for name, seconds in times.items():
        median_s = statistics.median(seconds)
        lines.append(f"| `{name}` | {median_s:.2f} | {min(seconds):.2f} | {median_s / torch_s:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--raster", type=Path, help=f"a GeoTIFF of your own; default: a made one, {SIDE_PX} px squared")
    parser.add_argument("--question", default="Is there water?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raster = options.raster or Path(folder) / "scene.tif"
        if options.raster is None:
            make_raster(raster)
        rsvlm = str(Path(sys.executable).with_name("rsvlm"))
        commands = {
            "rsvlm --help": [rsvlm, "--help"],
            f'rsvlm ask {raster.name} "{options.question}"': [rsvlm, "ask", str(raster), options.question],
            TORCH: [sys.executable, "-c", "import torch"],
        }
        times = measure(commands, options.rounds)
    print(table(times))
    print(f"\n{options.rounds} interleaved rounds, {platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()

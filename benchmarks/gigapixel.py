"""Memory, time and resumption on large scenes, and what a refined mask gains: ``python -m benchmarks.gigapixel``.

Scenes are made by `benchmarks.big_scene`: the same ground and density of objects at every size. Each run is a process
of its own, as a user starts it; its peak memory is what the kernel saw (``ru_maxrss``) of the largest of its processes.
Time is linear where the seconds of a window are the same at every size; those of the CPU (user and system) hold on a
machine that is busy with other things, too. A run is killed (SIGKILL) once half of its windows are in the journal, and
started again; what it finds has to be the same: pixels and place of the mask, or boxes, and in either case all of the
report but its seconds. Quality is printed beside, as the model of the day gives it; memory and time hardly depend on
it. What a run took is kept in the folder, so that a benchmark which is cut goes on where it stopped.
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from rasterio.enums import Resampling

from benchmarks import process
from benchmarks.big_scene import SceneRecipe, counts_for, write_scene
from train.data.scenes.palette import MASK_LABELS

CLASSES = ("airplane", "storage tank")
LABELS = ("water",)
QUESTION = "Is there an airplane?"
TASKS = {"detect": ".gpkg", "segment": ".tif", "ask": ".json"}
"""With the files they write."""

LAKES_SEED = 5
"""Of the scene whose mask is refined: a quarter of its first square kilometre is water."""

PER_MEGAPIXEL = 10.0
"""Objects on the ground."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took.

    Attributes:
        seconds: wall time.
        cpu_s: seconds of the CPU, user and system.
        peak_mb: most memory that a process of it held, megabytes.
        report: its JSON.
    """

    seconds: float
    cpu_s: float
    peak_mb: float
    report: dict

    @property
    def n_windows(self) -> int:
        """Windows that the model was shown."""
        cost = self.report["results"][0].get("cost") if self.report["results"] else None
        return cost["windows"] if cost else sum(look["n_windows"] for look in self.report["looks"])

    @property
    def found(self) -> str:
        """What was found, in a word."""
        results = self.report["results"]
        if self.report["task"] == "detect":
            return f"{len(results)} boxes"
        return results[0]["text"] if self.report["task"] == "ask" else f"{results[0]['cover'][0]['share']:.1%}"


def make(folder: Path, side_px: int, seed: int = 0) -> Path:
    """Return a scene of a side, drawn unless it is there."""
    path = folder / f"scene{side_px}-{seed}.tif"
    if not path.with_name(f"{path.stem}_objects.json").exists():
        counts = counts_for(side_px, PER_MEGAPIXEL)
        write_scene(path, SceneRecipe(width_px=side_px, height_px=side_px, counts=counts, seed=seed))
    return path


def command(task: str, scene: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a task on a scene."""
    what = {
        "detect": ["--classes", ",".join(CLASSES), "--min-score", "0.2"],
        "segment": ["--label", ",".join(LABELS)],
        "ask": [QUESTION, "--zoom", "auto"],
    }[task]
    return [sys.executable, "-m", "rsvlm_cli", task, str(scene), *what, "--out", str(out), "--json", *more]


def run(arguments: list[str], kept: Path) -> Run:
    """Run one process to its end, unless it was run before.

    Args:
        arguments: its command line.
        kept: where what it took is kept.

    Raises:
        SystemExit: if it fails.
    """
    if kept.exists():
        return Run(**json.loads(kept.read_text("utf-8")))
    with TemporaryDirectory() as folder:
        step = process.run(kept.stem, arguments, None, Path(folder))
    if step.code != 0:
        raise SystemExit(f"{' '.join(arguments)}: exit {step.code}: {step.stderr[-500:]}")
    found = Run(step.seconds, step.cpu_s, step.peak_gb * 1e9 / 2**20, json.loads(step.stdout))
    kept.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found


def run_killed(arguments: list[str], journal: Path, n_windows: int) -> int:
    """Start a process, kill it once half of its windows are in the journal; return how many were."""
    doomed = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while doomed.poll() is None:
        n_done = sum(1 for _ in journal.open("rb")) - 1 if journal.exists() else 0
        if n_done >= n_windows // 2:
            doomed.send_signal(signal.SIGKILL)
            doomed.wait()
            return n_done
        time.sleep(0.5)
    raise SystemExit("the run that was to be killed ended before its half")


def fingerprint(out: Path, report: dict) -> str:
    """Return a hash of what was found: the mask's pixels and place, or the boxes; and of the windows looked at."""
    digest = hashlib.sha256()
    if out.suffix == ".tif":
        with rasterio.open(out) as mask:
            digest.update(mask.read().tobytes() + repr((mask.transform, mask.crs, mask.tags())).encode())
    kept = {key: report[key] for key in ("results", "looks", "sources", "transcript", "n_asked")}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    return digest.hexdigest()


def truth_of(scene: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return which cells of a grid are water for the most part, ``shape`` bool."""
    with rasterio.open(scene.with_name(f"{scene.stem}_cover.tif")) as cover:
        per = max(1, cover.width // shape[1])
        values = cover.read(1, out_shape=(per * shape[0], per * shape[1]), resampling=Resampling.nearest)
    share = (values == MASK_LABELS.index("water") + 1).reshape(shape[0], per, shape[1], per).mean(axis=(1, 3))
    cells: np.ndarray = share >= 0.5
    return cells


def iou_on_finest(out: Path, scene: Path, shape: tuple[int, int]) -> float:
    """Return the intersection over union of a water mask with the truth, on one fine grid for all."""
    with rasterio.open(out) as mask:
        found = mask.read(1, out_shape=shape, resampling=Resampling.nearest) == 1
    truth = truth_of(scene, shape)
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def scaling(folder: Path, tasks: list[str], sides: list[int], how: list[str], windows: list[str]) -> Iterator[str]:
    """Yield the table of memory and time by size, and what resuming gave at the largest."""
    yield (
        "| task | scene px | windows | seconds | CPU seconds | CPU ms a window "
        "| peak MB | peak / that of the smallest | found |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for task in tasks:
        suffix, first_mb = TASKS[task], 0.0
        options = how if task == "ask" else [*how, *windows]
        for side in sides:
            scene, out = make(folder, side), folder / f"{task}{side}{suffix}"
            last = run(command(task, scene, out, "--overwrite", *options), folder / f"{task}{side}.run")
            first_mb = first_mb or last.peak_mb
            yield _row(task, side, last, f"{last.peak_mb / first_mb:.2f}", last.found)
        if task == "ask":
            continue  # One picture after another, and no journal.
        again = folder / f"{task}{side}-again{suffix}"
        arguments, kept = command(task, scene, again, *options), folder / f"{task}{side}-again.run"
        n_done = last.n_windows // 2
        if not kept.exists():
            again.unlink(missing_ok=True)
            n_done = run_killed(arguments, again.with_name(again.name + ".journal"), last.n_windows)
        resumed = run(arguments, kept)
        same = fingerprint(again, resumed.report) == fingerprint(out, last.report)
        name = f"{task}, killed after {n_done} windows, resumed"
        yield _row(
            name,
            side,
            resumed,
            f"{resumed.peak_mb / first_mb:.2f}",
            "identical" if same else "DIFFERENT",
            last.n_windows - n_done,
        )


def _row(name: str, side: int, one: Run, ratio: str, found: str, n_windows: int | None = None) -> str:
    """Write a run's line; ``n_windows`` are those that it looked at itself, where an earlier run had begun."""
    return (
        f"| {name} | {side:,} x {side:,} | {one.n_windows} | {one.seconds:.0f} | {one.cpu_s:.0f} "
        f"| {1000 * one.cpu_s / (n_windows or one.n_windows):.0f} | {one.peak_mb:.0f} | {ratio} | {found} |"
    )


def refinement(folder: Path, side: int, cell: str, how: list[str]) -> Iterator[str]:
    """Yield the table of masks: the grid alone, refined to a cell, everything at full scale."""
    scene = make(folder, side, LAKES_SEED)

    def masked(name: str, *more: str) -> Run:
        arguments = command("segment", scene, folder / f"{name}.tif", "--overwrite", *more, *how)
        return run(arguments, folder / f"{name}.run")

    coarse, fine = masked(f"grid{side}"), masked(f"fine{side}", "--cell", cell)
    finest = fine.report["looks"][-1]["window_px"][0]
    full = masked(f"full{side}", "--tile", f"{finest:.0f}")
    with rasterio.open(folder / f"fine{side}.tif") as mask:
        shape = mask.shape
    yield f"| mask of {LABELS[0]}, {side:,} x {side:,} px | windows | CPU seconds | IoU |"
    yield "|---|---|---|---|"
    for name, one, out in (("grid alone", coarse, "grid"), (f"--cell {cell}", fine, "fine"),
                           (f"everything in windows of {finest:.0f} px", full, "full")):  # fmt: skip
        iou = iou_on_finest(folder / f"{out}{side}.tif", scene, shape)
        yield f"| {name} | {one.n_windows} | {one.cpu_s:.0f} | {iou:.3f} |"


def main() -> None:
    """Run both and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path("runs/gigapixel"), help="where scenes and outputs go")
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASKS), help="of the first table")
    parser.add_argument("--sides", type=int, nargs="+", default=[5000, 10_000, 20_000], help="pixels")
    parser.add_argument("--tile", default="auto", help="of the first table's windows, as of rsvlm")
    parser.add_argument("--refine-side", type=int, default=2048, help="scene of the second table, pixels; 0 for none")
    parser.add_argument("--cell", default="2m")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="nano", help="bundle name or folder")
    chosen = parser.parse_args()
    chosen.folder = chosen.folder.resolve()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    how = ["--model", chosen.model, "--threads", str(chosen.threads)]
    jobs = ["--jobs", str(chosen.jobs)]
    windows = [*jobs, "--tile", chosen.tile]
    for lines in (
        scaling(chosen.folder, chosen.tasks, sorted(chosen.sides), how, windows) if chosen.tasks else (),
        refinement(chosen.folder, chosen.refine_side, chosen.cell, how + jobs) if chosen.refine_side else (),
    ):
        for line in lines:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()

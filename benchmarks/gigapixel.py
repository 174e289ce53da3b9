"""Memory, time and resumption on large scenes, and what a refined mask gains: ``python -m benchmarks.gigapixel``.

Scenes are made by `benchmarks.big_scene`: the same ground and density of objects at every size. Each run is a process
of its own, as a user starts it; its peak memory is what the kernel saw (``ru_maxrss``) of the largest of its processes.
Time is linear where the seconds of a window are the same at every size. A run is killed (SIGKILL) once half of its
windows are in the journal, and started again; what it finds has to be the same: pixels and place of the mask, or
boxes, and in either case all of the report but its seconds. Quality is printed beside, as the model of the day gives
it; memory and time hardly depend on it.
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling

from benchmarks.big_scene import SceneRecipe, counts_for, write_scene
from train.data.scenes.palette import MASK_LABELS

CLASSES = ("airplane", "storage tank")
LABELS = ("water",)


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took.

    Attributes:
        seconds: wall time.
        peak_mb: most memory that a process of it held, megabytes.
        report: its JSON.
    """

    seconds: float
    peak_mb: float
    report: dict

    @property
    def n_windows(self) -> int:
        """Windows that the model was shown."""
        return sum(look["n_windows"] for look in self.report["looks"])


def make(folder: Path, side_px: int) -> Path:
    """Return a scene of a side, drawn unless it is there."""
    path = folder / f"scene{side_px}.tif"
    if not path.with_name(f"{path.stem}_objects.json").exists():
        write_scene(path, SceneRecipe(width_px=side_px, height_px=side_px, counts=counts_for(side_px)))
    return path


def command(task: str, scene: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a task on a scene."""
    what = ["--classes", ",".join(CLASSES), "--min-score", "0.2"] if task == "detect" else ["--label", ",".join(LABELS)]
    return [sys.executable, "-m", "rsvlm_cli", task, str(scene), *what, "--out", str(out), "--json", *more]


def run(arguments: list[str]) -> Run:
    """Run one process to its end.

    Raises:
        SystemExit: if it fails.
    """
    # A process in between, so that ru_maxrss is this run's and not the greatest of all runs so far.
    probe = (
        "import json, resource, subprocess, sys, time; start = time.perf_counter(); "
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE); "
        "usage = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "sys.stderr.write(json.dumps([time.perf_counter() - start, usage.ru_maxrss / 1024])); "
        "sys.stdout.buffer.write(done.stdout); sys.exit(done.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", probe, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}: {done.stderr[-500:]}")
    seconds, peak_mb = json.loads(done.stderr.splitlines()[-1][done.stderr.splitlines()[-1].rindex("[") :])
    return Run(seconds, peak_mb, json.loads(done.stdout))


def run_killed(arguments: list[str], journal: Path, n_windows: int) -> int:
    """Start a process, kill it once half of its windows are in the journal; return how many were."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        n_done = sum(1 for _ in journal.open("rb")) - 1 if journal.exists() else 0
        if n_done >= n_windows // 2:
            process.send_signal(signal.SIGKILL)
            process.wait()
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


def scaling(folder: Path, sides: list[int], jobs: int) -> Iterator[str]:
    """Yield the table of memory and time by size, and what resuming gave at the largest."""
    yield "| task | scene px | windows | seconds | ms a window | peak MB | peak of the smallest | found |"
    yield "|---|---|---|---|---|---|---|---|"
    for task, suffix in (("detect", ".gpkg"), ("segment", ".tif")):
        first: Run | None = None
        last: Run | None = None
        for side in sides:
            scene, out = make(folder, side), folder / f"{task}{side}{suffix}"
            last = run(command(task, scene, out, "--overwrite", "--jobs", str(jobs)))
            first = first or last
            found = (
                len(last.report["results"])
                if task == "detect"
                else f"{last.report['results'][0]['cover'][0]['share']:.1%}"
            )
            yield (
                f"| {task} | {side:,} x {side:,} | {last.n_windows} | {last.seconds:.0f} "
                f"| {1000 * last.seconds / last.n_windows:.0f} | {last.peak_mb:.0f} "
                f"| {last.peak_mb / first.peak_mb:.2f} | {found} |"
            )
        assert last is not None
        expected = fingerprint(out, last.report)
        again = folder / f"{task}-again{suffix}"
        again.unlink(missing_ok=True)
        arguments = command(task, scene, again, "--jobs", str(jobs))
        n_done = run_killed(arguments, again.with_name(again.name + ".journal"), last.n_windows)
        resumed = run(arguments)
        same = fingerprint(again, resumed.report) == expected
        yield (
            f"| {task}, killed after {n_done} windows, resumed | {side:,} x {side:,} | {resumed.n_windows} "
            f"| {resumed.seconds:.0f} | | {resumed.peak_mb:.0f} | | {'identical' if same else 'DIFFERENT'} |"
        )


def refinement(folder: Path, side: int, cell: str, jobs: int) -> Iterator[str]:
    """Yield the table of masks: the grid alone, refined to a cell, everything at full scale."""
    scene = make(folder, side)
    coarse = run(command("segment", scene, folder / "grid.tif", "--overwrite", "--jobs", str(jobs)))
    fine = run(command("segment", scene, folder / "fine.tif", "--overwrite", "--cell", cell, "--jobs", str(jobs)))
    finest = fine.report["looks"][-1]["window_px"][0]
    full = run(
        command("segment", scene, folder / "full.tif", "--overwrite", "--tile", f"{finest:.0f}", "--jobs", str(jobs))
    )
    with rasterio.open(folder / "fine.tif") as mask:
        shape = mask.shape
    yield f"| mask of {LABELS[0]}, {side:,} x {side:,} px | windows | seconds | IoU |"
    yield "|---|---|---|---|"
    for name, one, out in (("grid alone", coarse, "grid.tif"), (f"--cell {cell}", fine, "fine.tif"),
                           (f"everything in windows of {finest:.0f} px", full, "full.tif")):  # fmt: skip
        yield f"| {name} | {one.n_windows} | {one.seconds:.0f} | {iou_on_finest(folder / out, scene, shape):.3f} |"


def main() -> None:
    """Run both and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path("runs/gigapixel"), help="where scenes and outputs go")
    parser.add_argument("--sides", type=int, nargs="+", default=[5000, 10_000, 20_000], help="pixels")
    parser.add_argument("--refine-side", type=int, default=5000, help="scene of the refinement table, pixels")
    parser.add_argument("--cell", default="2m")
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for lines in (
        scaling(chosen.folder, sorted(chosen.sides), chosen.jobs),
        refinement(chosen.folder, chosen.refine_side, chosen.cell, chosen.jobs),
    ):
        for line in lines:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()

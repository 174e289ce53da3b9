"""Read rasters in a process of their own, under limits of memory and time, and say how each ended.

Started as a program it is that process: one path a line on stdin, one JSON line a file on stdout.
"""

import contextlib
import json
import logging
import os
import resource
import select
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MEMORY_BYTES = 3 * 2**30


@dataclass(frozen=True)
class Outcome:
    """How one file ended: ``result``, an error of ours, ``traceback``, ``hang`` or ``killed``; with what it printed."""

    path: Path
    kind: str
    text: str
    seconds: float


def sweep(paths: Iterable[Path], seconds_each: float = 15.0) -> Iterator[Outcome]:
    """Read each file; a process that hangs or dies is replaced by a new one."""
    worker = None
    for path in paths:
        if worker is None:
            worker = _start()
        begin = time.monotonic()
        worker.stdin.write(f"{path}\n")
        worker.stdin.flush()
        answered = select.select([worker.stdout], [], [], seconds_each)[0]
        line = worker.stdout.readline() if answered else ""
        seconds = time.monotonic() - begin
        if line:
            yield Outcome(path, *json.loads(line), seconds)
            continue
        yield Outcome(path, "killed" if answered else "hang", "", seconds)
        _stop(worker)
        worker = None
    if worker is not None:
        _stop(worker)


def _start() -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )


def _stop(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    with worker:  # closes its pipes and waits for it
        pass


def _read(path: str) -> tuple[str, str]:
    from rsvlm_cli.errors import RsvlmError
    from rsvlm_cli.geo.describe import describe_raster
    from rsvlm_cli.geo.georef import Georeference
    from rsvlm_cli.geo.raster import open_raster

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            description = describe_raster(path)
            json.dumps(description, allow_nan=False)
            with open_raster(path) as raster:
                chip = raster.read(None, (64, 48))
                raster.read((0, 0, min(300, raster.width_px), min(300, raster.height_px)))
                if raster.crs is not None:
                    with contextlib.suppress(RsvlmError):
                        Georeference.of(raster).box_lonlat((0, 0, raster.width_px, raster.height_px))
        if chip.pixels.shape != (48, 64, 3) or chip.pixels.dtype != "uint8" or chip.valid.shape != (48, 64):
            return "traceback", f"a chip of {chip.pixels.shape} {chip.pixels.dtype}"
        shown = (description[key] for key in ("shown_by", "stretch", "crs", "gsd_m", "warnings"))
        return "result", " | ".join(str(value)[:100] for value in shown)
    except RsvlmError as error:
        return (type(error).__name__, str(error)) if "\n" not in str(error) else ("traceback", f"two lines: {error}")
    except Exception:  # what the sweep is there to find
        return "traceback", traceback.format_exc()


def _serve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # Whatever GDAL or a logger without a handler prints must not be taken for an answer, nor reach the user.
    answers = os.fdopen(os.dup(1), "w")
    noise = os.memfd_create("noise")
    os.dup2(noise, 1)
    os.dup2(noise, 2)
    logging.lastResort = logging.StreamHandler()
    for line in sys.stdin:
        os.ftruncate(noise, 0)
        kind, text = _read(line.rstrip("\n"))
        sys.stderr.flush()
        size = os.fstat(noise).st_size
        if size and kind != "traceback":
            kind, text = "noise", os.pread(noise, size, 0).decode(errors="replace")[:500]
        answers.write(json.dumps((kind, text)) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()

"""A process run to its end, and what it took."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The kernel counts a child's peak from the size of the process that started it, and keeps the greatest of all children.
# So a small process, which has but this one, starts it.
PROBE = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
seconds, code = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
with open(sys.argv[1], "w") as file:
    json.dump([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, code], file)
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A process that ended.

    Attributes:
        name: of what it did.
        seconds: of wall time.
        cpu_s: seconds of all cores, user and system.
        peak_gb: the most memory it held, in 10^9 bytes.
        code: its exit code; -9 if it was killed by signal 9.
        stdout, stderr: what it printed.
    """

    name: str
    seconds: float
    cpu_s: float
    peak_gb: float
    code: int
    stdout: str
    stderr: str


def run(name: str, command: Sequence[str], env: Mapping[str, str] | None, folder: Path) -> Step:
    """Run a process and measure it.

    Args:
        name: of what it does.
        command: its program and arguments.
        env: its environment, or None for this process's.
        folder: its working directory, where what it prints is kept meanwhile.
    """
    took = folder / "took.json"
    with (folder / "stdout").open("w+b") as out, (folder / "stderr").open("w+b") as err:
        probe = [sys.executable, "-c", PROBE, took.name, *command]
        subprocess.run(probe, stdout=out, stderr=err, env=env, cwd=folder, check=True)
    seconds, cpu_s, peak, code = json.loads(took.read_text("utf-8"))
    texts = [(folder / stream).read_text("utf-8") for stream in ("stdout", "stderr")]
    peak_gb = peak * (1 if sys.platform == "darwin" else 1024) / 1e9
    return Step(name, seconds, cpu_s, peak_gb, code, *texts)

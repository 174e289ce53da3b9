"""What a run says while it goes: a line of JSON a step, TensorBoard where asked, progress with the time left."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rsvlm_cli.errors import UsageError
from train.config import Stage

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_FILE = "log.jsonl"
SAY_EVERY_S = 60.0


class Monitor(AbstractContextManager["Monitor"]):
    """Writes the log of a run; one process of a run has one that speaks.

    Args:
        out: the run's folder.
        tensorboard: write event files into ``out/tensorboard``.
        silent: say nothing and write nothing.
        quiet: write, but say nothing on stderr.
    """

    def __init__(self, out: Path, *, tensorboard: bool = False, silent: bool = False, quiet: bool = False) -> None:
        self.silent, self.quiet = silent, quiet
        self._file = None if silent else (out / LOG_FILE).open("a", encoding="utf-8")
        self._board = _event_writer(out / "tensorboard") if tensorboard and not silent else None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = sys.stderr.isatty() and not silent and not quiet
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not shown, redirect_stdout=False)
        self._task = self._bar.add_task("", total=None)
        self._started = self._said = time.monotonic()
        self._first = self._before = 0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is open."""
        self._bar.stop()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def begin(self, stage: Stage, first: int, before: int) -> None:
        """Start a stage at its step ``first``; ``before`` steps lie in the stages before it."""
        self._first, self._before, self._started = first, before, time.monotonic()
        self._bar.reset(self._task, total=stage.steps, completed=first, description=stage.name)

    def step(self, stage: Stage, step: int, loss: float, facts: Mapping[str, float]) -> None:
        """Tell of a step that is done, counted from 1."""
        if self._file is None:
            return
        now = time.monotonic()
        rate = (step - self._first) / max(now - self._started, 1e-9)
        line = {"stage": stage.name, "step": step, "loss": loss, "steps_per_s": rate, **facts}
        told = {key: round(value, 5) if isinstance(value, float) else value for key, value in line.items()}
        self._file.write(json.dumps(told) + "\n")
        self._file.flush()
        if self._board is not None:
            for key in line.keys() - {"stage", "step"}:
                self._board.add_scalar(key.replace(" ", "/"), line[key], self._before + step)
        self._bar.update(self._task, completed=step, description=f"{stage.name} loss {loss:.3f}")
        if self._bar.disable and not self.quiet and (now - self._said > SAY_EVERY_S or step == stage.steps):
            self._said = now
            left = (stage.steps - step) / rate / 60
            sys.stderr.write(f"{stage.name} {step}/{stage.steps} loss {loss:.3f}, {left:.0f} min left\n")


def _event_writer(folder: Path) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "tensorboard is not installed: pip install 'rsvlm[train]', or leave --tensorboard out"
        ) from error
    return SummaryWriter(str(folder))

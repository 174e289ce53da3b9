"""What windows have said so far, in a file beside the output: a run that was interrupted goes on where it stopped.

One JSON text a line. The first says of what run it is; each further one is a window's outcome, in the order of looking.
A line is whole or it does not count, so a run may die at any moment.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rsvlm_cli import __version__
from rsvlm_cli.errors import InputError, RsvlmError
from rsvlm_cli.scene import Scene

logger = logging.getLogger(__name__)

UNRELATED = ("device", "jobs", "journal", "threads")
"""Settings that do not change what is found."""


class Journal(AbstractContextManager["Journal"]):
    """The outcomes of one run's windows, in order.

    Args:
        path: of the file, or None to keep nothing.
        run: what makes this run; a journal of another one is begun anew.
    """

    def __init__(self, path: Path | None, run: Mapping[str, Any]) -> None:
        self.path, self.n_replayed = path, 0
        self._head = (json.dumps(run, sort_keys=True) + "\n").encode()
        self._file: IO[bytes] | None = None
        self._replays = False
        if path is not None and path.exists():
            with _writing(path):
                self._file = path.open("r+b")
                self._replays = self._file.readline() == self._head
            if not self._replays:
                self._file.close()
                self._file = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file. It stays, for the one who has written the results to remove, unless this run cannot be."""
        if self._file:
            self._file.close()
            if isinstance(error, RsvlmError) and self.path is not None:
                self.path.unlink(missing_ok=True)

    def next(self) -> Any | None:  # noqa: ANN401 - any JSON
        """Return the next outcome that an earlier run has left, or None from where this run must go on itself."""
        if self._file is None or not self._replays:
            return None
        at = self._file.tell()
        line = self._file.readline()
        if line.endswith(b"\n"):
            try:
                outcome = json.loads(line)
                self.n_replayed += 1
                return outcome
            except ValueError:
                pass
        self._file.seek(at)
        self._file.truncate()
        self._replays = False
        if self.n_replayed:
            logger.warning("%s: goes on after %d windows of an earlier run", self.path, self.n_replayed)
        return None

    def add(self, outcome: Any) -> None:  # noqa: ANN401 - any JSON
        """Keep an outcome; it is with the system before this returns."""
        if self.path is None:
            return
        with _writing(self.path):
            if self._file is None:
                self._file = self.path.open("w+b")
                self._file.write(self._head)
            self._file.write((json.dumps(outcome) + "\n").encode())
            self._file.flush()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def open_journal(scene: Scene, task: str, labels: tuple[str, ...]) -> Journal:
    """Open the journal of one task on the rasters of a scene; without one in the settings, nothing is kept."""
    path = scene.settings.journal
    if path is None:
        return Journal(None, {})
    settings = {key: value for key, value in asdict(scene.settings).items() if key not in UNRELATED}
    files = [*scene.origin.paths, *filter(None, (settings["aoi"], settings["dem"]))]
    run = {
        "rsvlm": __version__,
        "model": scene.bundle.sha256,
        "task": task,
        "labels": labels,
        "settings": settings,
        "files": [_identity(file) for file in files],
    }
    return Journal(path, run)


def _identity(path: str) -> list[str | int]:
    """Return what tells a file from a later one of its name."""
    file = Path(path)
    if not file.is_file():
        return [path]
    facts = file.stat()
    with file.open("rb") as content:
        begin = hashlib.sha256(content.read(2**16)).hexdigest()
    return [str(file.resolve()), facts.st_size, facts.st_mtime_ns, begin]

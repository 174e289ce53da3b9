"""The bench: raw data sets made into records, and the model on the other side of the users' road."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from rsvlm_cli.errors import InputError, ReplyMalformed, ReplyTruncated
from rsvlm_cli.results import Box, Mask, Report
from rsvlm_cli.runtime.bundle import Bundle
from rsvlm_cli.settings import Settings
from train.data.convert import REGISTRY
from train.data.prepare import prepare_set
from train.data.records import Record, read_records
from train.evaluate.suite import Side

log = logging.getLogger(__name__)

T = TypeVar("T")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a command takes by itself, for a user who says nothing."""

    tile: str


COMMAND_DEFAULTS = {
    "detect": Defaults("auto"),
    "ground": Defaults("whole"),
    "segment": Defaults("auto"),
    "detect-change": Defaults("auto"),
}
"""As their signatures say; a test holds the two together."""


@dataclass(slots=True)
class Tally:
    """What became of the requests: how many there were, and of which form the useless replies.

    Attributes:
        asked: requests.
        broken: replies that the task's grammar cannot produce, or results that lie outside their raster.
        truncated: replies that ran out of budget.
        unreadable: images that could not be read.
    """

    asked: int = 0
    broken: int = 0
    truncated: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything that a row needs.

    Attributes:
        bundle: the model that is asked.
        settings: how; a row replaces what its command has of its own.
        folders: of the prepared sets.
        records: of each set, those that are scored.
        limit: requests a row and set at the most, or None.
        progress: is told how many of a row's requests are done.
        tally: of all rows.
    """

    bundle: Bundle
    settings: Settings
    folders: dict[str, Path]
    records: dict[str, list[Record]]
    limit: int | None = None
    progress: Progress | None = None
    tally: Tally = field(default_factory=Tally)

    def path(self, record: Record, which: int = 0) -> str:
        """Return an image's path."""
        return str(self.folders[record.source] / record.images[which])

    def least_score(self, task: str) -> float:
        """Return the least score of a box that a command takes by itself."""
        return Settings().least_score(self.bundle.manifest.quality or {}, task)

    def as_command(self, task: str, **values: Any) -> Settings:
        """Return the settings with a command's own tile, and some replaced."""
        return replace(self.settings, tile=COMMAND_DEFAULTS[task].tile, **values)

    def truth(self, record: Record) -> np.ndarray:
        """Return a record's index mask, ``(H, W)`` uint8."""
        assert record.mask is not None
        with Image.open(self.folders[record.source] / record.mask) as image:
            return np.asarray(image)

    def sample(self, items: Sequence[T]) -> list[T]:
        """Return an even sample of at most ``limit`` items, in their order."""
        step = 1 if self.limit is None else max(1, -(-len(items) // self.limit))
        return list(items[::step])

    def request(self, ask: Callable[[], Report]) -> Report | None:
        """Ask the model by a function of `rsvlm_cli.pipeline`; None, which counts as wrong, if no usable reply came."""
        self.tally.asked += 1
        try:
            report = ask()
        except ReplyMalformed as error:
            self.tally.broken += 1
            log.warning("%s", error)
        except ReplyTruncated as error:
            self.tally.truncated += 1
            log.warning("%s", error)
        except InputError as error:
            self.tally.unreadable += 1
            log.warning("%s", error)
        else:
            self.tally.truncated += report.truncated
            if not breaks_form(report):
                return report
            self.tally.broken += 1
            log.warning("%s: %s: results outside their form", report.sources[0].path, report.task)
        return None

    def walk(self, items: Sequence[T]) -> Iterator[T]:
        """Yield the items and tell how many are done."""
        for k, item in enumerate(items):
            if self.progress:
                self.progress(k, len(items))
            yield item


def breaks_form(report: Report) -> bool:
    """Say whether a result is none of its task, by its form alone: seen anew, without the task's own reader."""
    width, height = report.sources[0].width_px, report.sources[0].height_px
    for result in report.results:
        if isinstance(result, Box):
            x1, y1, x2, y2 = result.box_px
            if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and 0 <= (result.score or 0) <= 1):
                return True
        elif isinstance(result, Mask):
            values = set(np.unique(result.cells).tolist())
            if not values <= {*range(len(result.labels) + 1), 255}:
                return True
    return False


def prepare_sets(
    names: Sequence[str], root: Path, out: Path, side: Side
) -> tuple[dict[str, Path], dict[str, list[Record]], dict[str, str]]:
    """Convert the sets that lie below a data root in their publishers' layouts.

    Args:
        names: of the sets.
        root: holds each set's ``Source.folder``.
        out: folder for the prepared sets.
        side: which records are returned.

    Returns:
        Folder and records of each set that has any on that side, and of every other why it has none.

    Raises:
        InputError: if none of the sets can be used.
    """
    folders: dict[str, Path] = {}
    records: dict[str, list[Record]] = {}
    faults: dict[str, str] = {}
    for name in names:
        source = REGISTRY[name]
        if not (root / source.folder).is_dir():
            faults[name] = f"no folder {source.folder}"
            continue
        try:
            folder = prepare_set(source, root, out)
        except InputError as error:
            faults[name] = str(error)
            continue
        found = [record for record in read_records(folder) if side in ("all", record.split)]
        if found:
            folders[name], records[name] = folder, found
        else:
            faults[name] = f"no image on the {side} side"
    if not records:
        told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise InputError(f"{root}: no set of the suite can be used: {told} (--root is the folder that holds core/)")
    return folders, records, faults

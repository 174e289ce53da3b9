"""When a raster was taken: from what the user says, its tags, or its name.

A date is ISO 8601 to the precision that is known: ``2024``, ``2024-06`` or ``2024-06-01``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import PurePath

from rsvlm_cli.errors import UsageError

ACQUIRED = (
    *("acquisitiondatetime", "acquisition_date", "acquisition_datetime", "date_acquired", "acquired"),
    *("datatake_1_datatake_sensing_start", "product_start_time", "sensing_time", "exif_datetimeoriginal", "datetime"),
)
"""Tags that say when a picture was taken, most exact first; names in lower case."""

WRITTEN = "tifftag_datetime"
"""When the file was written: often, but not always, the day the picture was taken."""

FIRST_YEAR = 1900


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A raster's date.

    Attributes:
        date: ISO, or None.
        by: as `results.Source.date_by`.
    """

    date: str | None = None
    by: str | None = None


def find_date(path: str, tags: Mapping[str, str]) -> Dated:
    """Find when a raster was taken: a tag that says so, its name, or last the day it was written."""
    lower = {key.lower(): value for key, value in tags.items()}
    for key in ACQUIRED:
        found = _first_date(lower.get(key, ""))
        if found:
            return Dated(date=found, by=f"tag {key.upper()}")
    *_, folder, name = ("", *PurePath(re.sub(r"[\\:]", "/", path)).parts)
    found = _first_date(name) or (_first_date(folder) if re.fullmatch(r"[\d._-]+", folder) else None)
    if found:
        return Dated(date=found, by="name")
    found = _first_date(lower.get(WRITTEN, ""))
    return Dated(date=found, by="tag TIFFTAG_DATETIME, the day of writing") if found else Dated()


def parse_dates(text: str, n: int) -> tuple[str, ...]:
    """Read ``2019-05-01,2024``: one date a raster.

    Args:
        text: ISO dates, a comma between them.
        n: how many are wanted.

    Raises:
        UsageError: if one is no date, or there are more or fewer.
    """
    words = [word.strip() for word in text.split(",")]
    if len(words) != n:
        raise UsageError(
            f"--dates {text}: found {len(words)}, wanted one for each of {n} rasters, a comma between them"
        )
    for word in words:
        if not re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", word) or _first_date(word) != word:
            raise UsageError(f"--dates {text}: {word!r} is no date (wanted 2024, 2024-06 or 2024-06-01)")
    return tuple(words)


def order_warning(dates: Sequence[str | None]) -> tuple[str, ...]:
    """Warn of dates that do not run forwards; results keep the order of the rasters."""
    known = [text for text in dates if text]
    backwards = [(a, b) for a, b in pairwise(known) if a[: len(b)] > b[: len(a)]]
    return tuple(f"{b} comes after {a}: the rasters do not run forwards in time" for a, b in backwards)


def _first_date(text: str) -> str | None:
    """Return the first date in a text: whole days before months before years alone."""
    for pattern in (
        r"(?<!\d)(\d{4})([-_:./]?)(\d\d)\2(\d\d)(?=\d{6}(?!\d)|(?!\d))",
        r"(?<!\d)(\d{4})([-_:./]?)(\d\d)(?!\d)",
        r"(?<!\d)(\d{4})(?!\d)",
    ):
        for match in re.finditer(pattern, text):
            numbers = [int(part) for k, part in enumerate(match.groups()) if k != 1]
            if _exists(*numbers):
                return "-".join([f"{numbers[0]:04d}", *(f"{number:02d}" for number in numbers[1:])])
    return None


def _exists(year: int, month: int = 1, day: int = 1) -> bool:
    """Say whether a picture may have been taken that day; numbers of tiles and sheets mostly fail."""
    try:
        return FIRST_YEAR <= date(year, month, day).year <= date.today().year
    except ValueError:
        return False

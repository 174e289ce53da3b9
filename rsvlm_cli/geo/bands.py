"""Which bands show red, green and blue, and on whose word.

Order of trust: what the user asked, colour interpretation, band names, a sensor that the file names, and last position,
always with a warning. A file whose number of bands and type alone make a sensor likely is read as that sensor, with a
warning too.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from rsvlm_cli.errors import BandsMissing, UsageError

RGB = ("red", "green", "blue")
CMYK = ("cyan", "magenta", "yellow", "black")
UNINFORMATIVE = {"undefined", "gray", "alpha"}
"""GDAL calls the first band grey where a file says nothing about colour."""

SHARED_CODES = {"B2": "blue", "B3": "green", "B4": "red"}
"""What Sentinel-2, HLS and Landsat 8-9 agree on, for band codes without a sensor."""


class BandMode(StrEnum):
    """How band values become a colour picture."""

    RGB = "rgb"
    GREY = "grey"
    PALETTE = "palette"
    CMYK = "cmyk"


@dataclass(frozen=True, slots=True, kw_only=True)
class BandFacts:
    """What a file says about its bands.

    Attributes:
        path: for messages; its last part may name the sensor.
        dtype: of the first band.
        colours: colour interpretation of each band, rasterio's names.
        names: description of each band, or None.
        tags: of the file.
    """

    path: str
    dtype: str
    colours: tuple[str, ...]
    names: tuple[str | None, ...]
    tags: Mapping[str, str]

    @property
    def picture(self) -> list[int]:
        """1-based indexes of the bands that are no alpha."""
        return [k for k, colour in enumerate(self.colours, start=1) if colour != "alpha"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandChoice:
    """The bands to read and why.

    Attributes:
        indexes: 1-based, in the order red, green, blue (or cyan to black); one for grey and palette.
        mode: how they become colour.
        labels: each as ``3 (red)``, the form of `results.Source.bands`.
        by: as `results.Source.bands_by`.
        warnings: one line each.
    """

    indexes: tuple[int, ...]
    mode: BandMode
    labels: tuple[str, ...]
    by: str
    warnings: tuple[str, ...] = ()


def choose_bands(facts: BandFacts, asked: str | None = None) -> BandChoice:
    """Choose the bands to show.

    Args:
        facts: what the file says.
        asked: one or three band numbers or names, ``4,3,2`` or ``nir,red,green``; None to choose by the file.

    Raises:
        UsageError: if ``asked`` is malformed.
        BandsMissing: if a band that was asked for is not there, or there is no band to show.
    """
    if not facts.picture:
        raise BandsMissing(f"{facts.path}: has only an alpha band; a picture needs one band of values or three")
    if asked is not None:
        return _as_asked(facts, asked)
    return _by_colour(facts) or _by_names(facts) or _by_sensor(facts) or _by_position(facts)


def _as_asked(facts: BandFacts, asked: str) -> BandChoice:
    words = [word.strip().lower() for word in asked.split(",")]
    if len(words) not in (1, 3) or not all(words):
        raise UsageError(f"bands {asked!r}: wanted one or three, by number or name, such as 4,3,2 or nir,red,green")
    known = _known_bands(facts)
    count = len(facts.colours)
    indexes = []
    for word in words:
        index = int(word) if word.isdecimal() else known.get(word, 0)
        if not 1 <= index <= count:
            found = f"{count} band{'s' if count > 1 else ''}" + (
                f" ({', '.join(known)})" if known else ", none with a name"
            )
            raise BandsMissing(f"{facts.path}: {found}, --bands asks for {word} (see rsvlm info)")
        indexes.append(index)
    by_index = {index: name for name, index in reversed(known.items())}
    if len(indexes) == 1 and facts.colours[indexes[0] - 1] == "palette":
        return BandChoice(
            indexes=tuple(indexes), mode=BandMode.PALETTE, labels=_labels(indexes, ["palette"]), by="asked"
        )
    mode = BandMode.RGB if len(indexes) == 3 else BandMode.GREY
    labels = _labels(indexes, [by_index.get(index, "unnamed") for index in indexes])
    return BandChoice(indexes=tuple(indexes), mode=mode, labels=labels, by="asked")


def _by_colour(facts: BandFacts) -> BandChoice | None:
    by = "colour interpretation"
    at = {colour: k for k, colour in reversed(list(enumerate(facts.colours, start=1)))}
    picture = facts.picture
    if facts.colours[picture[0] - 1] == "palette":
        return BandChoice(indexes=(picture[0],), mode=BandMode.PALETTE, labels=_labels(picture[:1], ["palette"]), by=by)
    if all(colour in at for colour in RGB):
        indexes = [at[colour] for colour in RGB]
        return BandChoice(
            indexes=tuple(indexes),
            mode=BandMode.RGB,
            labels=_labels(indexes, RGB),
            by=by,
            warnings=_contradiction(facts, indexes),
        )
    if all(colour in at for colour in CMYK):
        return BandChoice(
            indexes=tuple(at[colour] for colour in CMYK),
            mode=BandMode.CMYK,
            labels=_labels([at[colour] for colour in CMYK], CMYK),
            by=by,
        )
    if len(picture) == 1:
        return BandChoice(indexes=(picture[0],), mode=BandMode.GREY, labels=_labels(picture, ["grey"]), by=by)
    return None


def _contradiction(facts: BandFacts, indexes: Sequence[int]) -> tuple[str, ...]:
    """Warn where band names speak against the colour interpretation, which many writers set without being asked."""
    named = _named_bands(facts)
    if all(name in named for name in RGB) and [named[name] for name in RGB] != list(indexes):
        better = ",".join(str(named[name]) for name in RGB)
        return (
            f"{facts.path}: band names speak against colour interpretation, which is followed (else --bands {better})",
        )
    return ()


def _by_names(facts: BandFacts) -> BandChoice | None:
    named = _named_bands(facts)
    if not all(name in named for name in RGB):
        return None
    indexes = [named[name] for name in RGB]
    return BandChoice(indexes=tuple(indexes), mode=BandMode.RGB, labels=_labels(indexes, RGB), by="band names")


def _by_sensor(facts: BandFacts) -> BandChoice | None:
    sensor = _recognised(facts)
    stack = _stack(sensor, facts)
    warnings: tuple[str, ...] = ()
    if sensor is None or stack is None:
        shape = f"{len(facts.picture)} {facts.dtype}"
        sensor = next((sensor for sensor in _table()["sensor"] if shape in sensor.get("shapes", ())), None)
        stack = _stack(sensor, facts)
        if sensor is None or stack is None:
            return None
        warnings = (
            f"{facts.path}: bands have no names; {len(facts.picture)} bands of {facts.dtype} were taken for "
            f"{sensor['name']} (choose with --bands, such as --bands 3,2,1)",
        )
    indexes = [facts.picture[stack.index(name)] for name in RGB]
    return BandChoice(
        indexes=tuple(indexes),
        mode=BandMode.RGB,
        labels=_labels(indexes, RGB),
        by=f"sensor {sensor['name']}",
        warnings=warnings,
    )


def _by_position(facts: BandFacts) -> BandChoice:
    picture = facts.picture
    n = 3 if len(picture) >= 3 else 1
    shown = "bands 1, 2, 3 are shown as red, green, blue" if n == 3 else f"band {picture[0]} is shown as grey"
    return BandChoice(
        indexes=tuple(picture[:n]),
        mode=BandMode.RGB if n == 3 else BandMode.GREY,
        labels=_labels(picture[:n], [facts.names[k - 1] or "unnamed" for k in picture[:n]]),
        by="position",
        warnings=(f"{facts.path}: nothing says which of {len(picture)} bands is which; {shown} (choose with --bands)",),
    )


def _known_bands(facts: BandFacts) -> dict[str, int]:
    """Return every word by which a band may be asked for, most trusted meaning last so that it wins."""
    sensor = _recognised(facts)
    known: dict[str, int] = {}
    for name, index in zip(_stack(sensor, facts) or (), facts.picture, strict=False):
        known[name] = index
    known |= {name.strip().lower(): k for k, name in enumerate(facts.names, start=1) if name}
    known |= _named_bands(facts)
    return known | {colour: k for k, colour in enumerate(facts.colours, start=1) if colour not in UNINFORMATIVE}


def _named_bands(facts: BandFacts) -> dict[str, int]:
    """Return common names read from the band names; the first band of a name counts."""
    sensor = _recognised(facts)
    codes: Mapping[str, str] = sensor["codes"] if sensor else {}
    named: dict[str, int] = {}
    for index, text in enumerate(facts.names, start=1):
        name = _common_name(text or "", codes)
        if name is not None:
            named.setdefault(name, index)
    return named


def _common_name(text: str, codes: Mapping[str, str]) -> str | None:
    lower = text.lower()
    for name, pattern in _table()["names"].items():
        if re.search(pattern, lower):
            return str(name)
    meanings = codes or SHARED_CODES
    code = re.search(r"(?<![a-z])b(?:and)?[ _-]?0*(\d{1,2}a?)(?![a-z0-9])", lower)
    return meanings.get(f"B{code[1].upper()}") if code else None


def _recognised(facts: BandFacts) -> dict[str, Any] | None:
    """Return the sensor that the file name, a tag or the band names speak of."""
    tags = "\n".join(f"{key}={value}" for key, value in facts.tags.items() if len(value) < 1000)
    text = "\n".join([re.split(r"[/\\]", facts.path)[-1], tags, ",".join(name or "" for name in facts.names)])
    return next((sensor for sensor in _table()["sensor"] if re.search(sensor["pattern"], text, re.IGNORECASE)), None)


def _stack(sensor: dict[str, Any] | None, facts: BandFacts) -> list[str] | None:
    n = len(facts.picture)
    return next((stack for stack in sensor["stacks"] if len(stack) == n), None) if sensor else None


def _labels(indexes: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{index} ({name})" for index, name in zip(indexes, names, strict=True))


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("rsvlm_cli.geo").joinpath("sensors.toml").read_text(encoding="utf-8"))

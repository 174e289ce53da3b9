"""What is asked and what must come out: a suite of rows, read from a TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args

from rsvlm_cli.errors import InputError
from train.data.convert import REGISTRY

Side = Literal["all", "train", "val"]
"""Which records are scored: all, or one side of the place-grouped split."""


class Kind(StrEnum):
    """What a row does with its records; each has a function in `train.evaluate.run.KINDS`."""

    SCENE = "scene"
    ANSWERS = "answers"
    CAPTION = "caption"
    DESCRIBE = "describe"
    PRESENCE = "presence"
    COUNT = "count"
    DETECT = "detect"
    GROUND = "ground"
    SEGMENT = "segment"
    CHANGE = "change"
    REPLIES = "replies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table.

    Attributes:
        name: as the table shows it.
        kind: what is asked.
        sets: keys of `train.data.convert.REGISTRY`; a score over several is the mean of theirs.
        labels: class words that are asked for, instead of all that a set is complete in.
        asked: of each set, the word for its change.
        at_least, aim: what the first score must reach, or None.
        times_baseline: whether both are multiples of the baseline; a score that should be small stays below them.
    """

    name: str
    kind: Kind
    sets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    asked: Mapping[str, str] = field(default_factory=dict)
    at_least: float | None = None
    aim: float | None = None
    times_baseline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Rows and the side of the split that they are scored on, unless the command line says another."""

    name: str
    split: Side
    rows: tuple[Row, ...]

    @property
    def sets(self) -> tuple[str, ...]:
        """Every set that a row needs, once."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.sets))

    @classmethod
    def from_toml(cls, path: Path) -> "Suite":
        """Read a suite.

        Raises:
            InputError: naming the file and what is wrong in it.
        """
        try:
            data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
            suite = cls(
                name=data["name"], split=data.get("split", "val"), rows=tuple(_read_row(row) for row in data["row"])
            )
            if suite.split not in get_args(Side):
                raise ValueError(f"split {suite.split!r}, wanted one of {', '.join(get_args(Side))}")
        except OSError as error:
            raise InputError(f"{path}: {error.strerror} (name a suite, such as benchmarks/suites/*.toml)") from error
        except KeyError as error:
            raise InputError(f"{path}: not a suite: no {error} (see train/evaluate/suite.py)") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: not a suite: {error}") from error
        return suite


def _read_row(data: dict[str, Any]) -> Row:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    row = Row(**values | {"kind": Kind(data["kind"])})
    unknown = [name for name in row.sets if name not in REGISTRY]
    if unknown:
        raise ValueError(f"row {row.name!r}: no set {', '.join(unknown)} (known: {', '.join(REGISTRY)})")
    if not row.sets and row.kind is not Kind.REPLIES:
        raise ValueError(f"row {row.name!r}: no sets")
    return row

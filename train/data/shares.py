"""How often each set is drawn, and which of its records.

Two ways to say it. ``weights`` gives each set its share outright. ``mix`` says it as RSCoVLM's data.json does:
``set*6`` repeats a set six times, ``set%10`` keeps a tenth of its records, and a set's share is its size after that.
A temperature T turns shares into their 1/T-th powers: above 1 small sets are drawn more often than their size says.
Source: arXiv:2511.21272; the temperature as in multilingual BERT and mT5, arXiv:2010.11934, section 3.1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from zlib import crc32

import numpy as np

T = TypeVar("T")

_ENTRY = re.compile(r"(?P<name>[^*%\s]+)(?:\*(?P<times>\d+(?:\.\d+)?)|%(?P<percent>\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Sets and their shares.

    Attributes:
        weights: share of each set, up to a factor; empty where sizes count.
        times: repetitions of each set, where sizes count.
        percent: records of each set that are kept.
        temperature: 1 takes shares as they are.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)
    percent: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if bool(self.weights) == bool(self.times):
            raise ValueError("data wants either weights or mix, and at least one set")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}, wanted more than 0")
        if any(weight < 0 for weight in self.weights.values()):
            raise ValueError("a weight is negative")

    @property
    def names(self) -> tuple[str, ...]:
        """The sets, in their order."""
        return tuple(self.weights or self.times)

    @classmethod
    def parse(cls, entries: list[str], temperature: float = 1.0) -> "Mix":
        """Read the form of RSCoVLM's mix: ``name``, ``name*times`` or ``name%percent``."""
        times, percent = {}, {}
        for entry in entries:
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise ValueError(f"{entry!r} in mix, wanted name, name*times or name%percent")
            times[match["name"]] = float(match["times"] or 1)
            percent[match["name"]] = float(match["percent"] or 100)
        return cls(times=times, percent=percent, temperature=temperature)

    def keep(self, name: str, records: list[T], seed: int) -> list[T]:
        """Return the records of a set that are kept: the same ones for a seed, in their order, at least one."""
        kept = round(len(records) * self.percent.get(name, 100) / 100)
        if kept >= len(records):
            return records
        rng = np.random.default_rng([seed, crc32(name.encode())])
        return [records[int(i)] for i in sorted(rng.permutation(len(records))[: max(1, kept)])]

    def shares(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Return the share of each set that is there; they sum to one.

        Args:
            sizes: records of each set that are kept.
        """
        known = [name for name in self.names if sizes.get(name)]
        raw = np.array([self.weights.get(name, self.times.get(name, 0) * sizes[name]) for name in known], float)
        raw = (raw / raw.sum()) ** (1 / self.temperature)
        return dict(zip(known, (raw / raw.sum()).tolist(), strict=True))

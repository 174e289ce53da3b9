"""Which records a step sees: sets are drawn by weight, records within a set evenly, all from the step's own seed.

A step's batch depends on the seed and the step alone, so a resumed run sees exactly what an uninterrupted one would.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from train.data.records import RECORDS_FILE, Record, read_records
from train.data.views import ImageStore, View, ViewLaw, make_view

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Corpus:
    """Prepared sets in memory.

    Attributes:
        folders: where each set lies.
        records: each set's records of one split.
    """

    folders: dict[str, Path]
    records: dict[str, list[Record]]
    store: ImageStore = field(default_factory=ImageStore)

    @classmethod
    def load(cls, root: Path, names: Mapping[str, float] | list[str], split: Literal["train", "val"]) -> "Corpus":
        """Read the named sets under ``root``; a set that was not prepared is left out, and the log says so.

        Raises:
            FileNotFoundError: if none of them is there.
        """
        folders, records = {}, {}
        for name in names:
            if not (root / name / RECORDS_FILE).exists():
                log.warning("%s is not prepared under %s, left out", name, root)
                continue
            chosen = [record for record in read_records(root / name) if record.split == split]
            if chosen:
                folders[name], records[name] = root / name, chosen
        if not records:
            raise FileNotFoundError(f"no prepared set under {root} (run python -m train.data.prepare)")
        return cls(folders, records)

    def view(self, name: str, record: Record, law: ViewLaw, rng: np.random.Generator) -> View:
        """Make one view of a record of set ``name``."""
        return make_view(record, self.folders[name], self.store, law, rng)


class Mixture:
    """Draws the views of each step."""

    def __init__(self, corpus: Corpus, weights: Mapping[str, float], law: ViewLaw, *, seed: int, batch: int) -> None:
        self.corpus, self.law, self.seed, self.batch = corpus, law, seed, batch
        self.names = [name for name in weights if name in corpus.records]
        share = np.array([weights[name] for name in self.names], float)
        self.share = share / share.sum()

    def views(self, step: int) -> tuple[list[View], np.random.Generator]:
        """Return the views of one step, and the generator that goes on from them."""
        rng = np.random.default_rng([self.seed, step])
        views = []
        for which in rng.choice(len(self.names), self.batch, p=self.share):
            name = self.names[int(which)]
            records = self.corpus.records[name]
            views.append(self.corpus.view(name, records[int(rng.integers(len(records)))], self.law, rng))
        return views, rng

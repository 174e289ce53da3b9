"""Which records a step sees: sets are drawn by their shares, records within a set evenly.

A view depends on the seed, the step and its place in the batch alone, so a resumed run sees exactly what an
uninterrupted one would, and several processes see together what one sees.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from train.data.records import RECORDS_FILE, Record, read_records
from train.data.shares import Mix
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
    def load(cls, root: Path, names: Iterable[str], split: Literal["train", "val"]) -> "Corpus":
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
            raise FileNotFoundError(f"no prepared set under {root} (make one: rsvlm data prepare)")
        return cls(folders, records)

    def view(self, name: str, record: Record, law: ViewLaw, rng: np.random.Generator) -> View:
        """Make one view of a record of set ``name``."""
        return make_view(record, self.folders[name], self.store, law, rng)


class Mixture:
    """Draws the views of each step.

    Args:
        corpus: the records.
        mix: how often each set is drawn.
        seed: of everything random.
    """

    def __init__(self, corpus: Corpus, mix: Mix, *, seed: int) -> None:
        self.corpus, self.seed = corpus, seed
        self.records = {
            name: mix.keep(name, corpus.records[name], seed) for name in mix.names if name in corpus.records
        }
        shares = mix.shares({name: len(records) for name, records in self.records.items()})
        self.names, self.share = list(shares), np.array(list(shares.values()))

    def view(self, step: int, place: int, law: ViewLaw) -> tuple[View, np.random.Generator]:
        """Return the view at a place of a step's batch, and the generator that goes on from it."""
        rng = np.random.default_rng([self.seed, step, place])
        name = self.names[int(rng.choice(len(self.names), p=self.share))]
        records = self.records[name]
        return self.corpus.view(name, records[int(rng.integers(len(records)))], law, rng), rng

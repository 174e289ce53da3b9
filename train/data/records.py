"""The one record schema that every data set is converted into.

A prepared set is a folder: ``records.jsonl`` (one record a line), ``images/`` and ``masks/`` beside it; paths in a
record are relative to that folder. A large set goes on in ``records-0001.jsonl`` and so on, ``SHARD_RECORDS`` to a
file, and ``images/0001/`` beside them. ``set.json`` says where it comes from and under which terms. What a record does
not know it leaves empty; what it declares in ``complete`` is exhaustive, so that "no ship" and "three ships" are exact.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Literal

RECORDS_FILE = "records.jsonl"
SHARDS = "records*.jsonl"
SHARD_RECORDS = 10_000
SET_FILE = "set.json"
UNLABELLED = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBox:
    """One object.

    Attributes:
        label: class word, lower case, singular, spaces between words.
        box_px: ``x1, y1, x2, y2`` in image pixels, corners, inside the image.
    """

    label: str
    box_px: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image, or one place at two dates, with all that is known of it.

    Attributes:
        id: unique within the set.
        source: the set, a key of `train.data.convert.SOURCES`.
        place: records that show the same ground share it; a place is never on both sides of a split.
        split: ``train`` or ``val``.
        images: one path, or two: before and after on one pixel grid.
        gsd_m: ground size of a pixel in metres, or None.
        scene: scene class, or None.
        captions: human captions; of a pair, change captions.
        objects: boxes (of the after image of a pair).
        points: ``label, x_px, y_px`` where only centres are known.
        phrases: boxes whose ``label`` is a description that fits this one place in the image.
        questions: question and short answer, both about the whole image as it stands.
        complete: object labels of which every instance is in ``objects`` or ``points``.
        mask: path of a uint8 PNG, 0 background, k for ``mask_labels[k - 1]``, 255 unlabelled; of a pair, what changed.
        mask_labels: class words of the mask.
    """

    id: str
    source: str
    place: str
    split: Literal["train", "val"]
    images: tuple[str, ...]
    gsd_m: float | None = None
    scene: str | None = None
    captions: tuple[str, ...] = ()
    objects: tuple[LabelledBox, ...] = ()
    points: tuple[tuple[str, float, float], ...] = ()
    phrases: tuple[LabelledBox, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    complete: tuple[str, ...] = ()
    mask: str | None = None
    mask_labels: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; empty fields are left out."""
        return {key: value for key, value in asdict(self).items() if value not in (None, (), [])}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Record":
        """Read the JSON form; the inverse of `to_json`."""
        lists = {"images", "captions", "complete", "mask_labels"}
        values: dict[str, Any] = {key: tuple(value) if key in lists else value for key, value in data.items()}
        for key in ("objects", "phrases"):
            values[key] = tuple(LabelledBox(label=o["label"], box_px=tuple(o["box_px"])) for o in data.get(key, ()))
        values["points"] = tuple((label, x, y) for label, x, y in data.get("points", ()))
        values["questions"] = tuple((question, answer) for question, answer in data.get("questions", ()))
        return cls(**values)


def write_records(folder: Path, records: Iterable[Record], *, shard: int = SHARD_RECORDS) -> int:
    """Write a prepared set's records, ``shard`` to a file, and return how many there are."""
    n = 0
    source = iter(records)
    for number in count():
        chunk = islice(source, shard)
        first = next(chunk, None)
        if first is None and number:
            return n
        path = folder / (RECORDS_FILE if number == 0 else f"records-{number:04}.jsonl")
        with path.open("w", encoding="utf-8") as file:
            for record in chain(() if first is None else (first,), chunk):
                file.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")
                n += 1
    return n


def read_records(folder: Path) -> Iterator[Record]:
    """Yield a prepared set's records in the order in which they were written."""
    for path in sorted(folder.glob(SHARDS), key=lambda path: (path.name != RECORDS_FILE, path.name)):
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield Record.from_json(json.loads(line))


def read_set_facts(folder: Path) -> dict[str, Any]:
    """Return what ``set.json`` says of a prepared set; empty where it was prepared without one."""
    path = folder / SET_FILE
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return facts

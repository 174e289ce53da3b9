"""What a data set is, what a converter may do, and which side of the split a place lies on."""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from rsvlm_cli.errors import InputError
from train.data.records import SHARD_RECORDS, Record

VAL_FRAC = 0.15

Split = Literal["train", "val"]
Terms = Literal["open", "research only", "your own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One public data set and how it is read.

    Attributes:
        name: key in `train.data.convert.REGISTRY`, and the name of the prepared set's folder.
        folder: where it lies, relative to the data root; empty for a set whose folder the user names.
        licence: of imagery and labels, as stated by their publishers.
        terms: ``research only`` needs its terms in the card of every model trained on it.
        gsd: ground sampling in words.
        teaches: what its labels are good for.
        origin: paper or publisher.
        convert: its reader; yields records and writes their images and masks into the prepared set.
        is_val: says whether a place is on the val side, where few places or classes in a row make a hash a poor judge;
            None takes `split_of_place`.
        layout: what lies in the folder, in one line.
        archives: MD5 of the published archives by file name, where it is known.
    """

    name: str
    folder: str
    licence: str
    terms: Terms
    gsd: str
    teaches: str
    origin: str
    convert: "Converter"
    is_val: Callable[[str], bool] | None = None
    layout: str = ""
    archives: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Return what users are told of the set: the content of a prepared set's ``set.json``."""
        told = ("name", "terms", "licence", "origin", "gsd", "teaches", "layout")
        return {key: getattr(self, key) for key in told} | {"archives_md5": dict(self.archives)}

    def split(self, place: str) -> Split:
        """Return the side that a place lies on."""
        if self.is_val is None:
            return split_of_place(self.name, place)
        return "val" if self.is_val(place) else "train"


def split_of_place(source: str, place: str) -> Split:
    """Send about ``VAL_FRAC`` of all places to val, by a hash.

    The side depends on nothing but the two names, so a partial copy of a set never moves a place to the other side.
    """
    digest = hashlib.sha256(f"{source}/{place}".encode()).digest()
    return "val" if int.from_bytes(digest[:8], "big") < VAL_FRAC * 2**64 else "train"


def any_of(*places: str) -> Callable[[str], bool]:
    """Return the rule that these places are val."""
    return frozenset(places).__contains__


@dataclass(frozen=True, slots=True)
class PreparedSet:
    """A prepared set's folder while a converter fills it.

    Attributes:
        source: the set.
        folder: holds ``images/`` and ``masks/``.
        written: names taken so far, of either kind.
    """

    source: Source
    folder: Path
    written: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def record(self, *, place: str, split: Split | None = None, **fields: Any) -> Record:
        """Return a record of this set with the given fields.

        Args:
            place: of the record.
            split: where the publisher says it (a test side counts as val); else the side that the place lies on.
            fields: the others of `Record`.
        """
        return Record(source=self.source.name, place=place, split=split or self.source.split(place), **fields)

    def add_image(self, path: Path, stem: str | None = None) -> str:
        """Take over an image file and return its path in a record; a TIFF is re-encoded as an RGB PNG.

        Raises:
            InputError: if another image of the set has that name already.
        """
        stem = stem or path.stem
        if path.suffix.lower() in (".tif", ".tiff"):
            with Image.open(path) as image:
                return self.add_pixels(np.asarray(image.convert("RGB")), stem)
        target = self._new("images", stem + path.suffix)
        shutil.copyfile(path, target)
        return target.relative_to(self.folder).as_posix()

    def add_pixels(self, rgb: np.ndarray, stem: str) -> str:
        """Write ``(H, W, 3)`` uint8 as a PNG image and return its path in a record.

        Raises:
            InputError: as `add_image`.
        """
        target = self._new("images", f"{stem}.png")
        Image.fromarray(rgb).save(target, compress_level=1)
        return target.relative_to(self.folder).as_posix()

    def add_mask(self, cells: np.ndarray, stem: str) -> str:
        """Write a mask and return its path in a record.

        Args:
            cells: ``(H, W)``, bool or uint8: 0 background, k for the record's ``mask_labels[k - 1]``, 255
                unlabelled.
            stem: file name without its suffix.
        """
        target = self._new("masks", f"{stem}.png")
        Image.fromarray(cells.astype(np.uint8)).save(target)
        return target.relative_to(self.folder).as_posix()

    def _new(self, kind: str, name: str) -> Path:
        """Return the path of a file to be made, in a folder a shard."""
        written = self.written[kind]
        if name in written:
            raise InputError(f"{name}: two {kind} of {self.source.name} have that name (rename one of them)")
        written.add(name)
        shard = (len(written) - 1) // SHARD_RECORDS
        path = self.folder / kind / (f"{shard:04}/{name}" if shard else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


Converter = Callable[[Path, PreparedSet], Iterator[Record]]
"""Called with the set's own folder and the prepared set to fill."""

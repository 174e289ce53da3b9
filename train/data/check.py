"""Is a prepared set whole, and is a published one what it should be?"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from rsvlm_cli.errors import InputError
from train.data.convert.source import PreparedSet, Source
from train.data.prepare import prepare_set
from train.data.records import RECORDS_FILE, UNLABELLED, Record, read_records


def prepared_folders(root: Path) -> list[Path]:
    """Return a prepared set's folder, or those of all prepared sets below a folder.

    Raises:
        InputError: if there is none.
    """
    found = [path.parent for path in sorted([root / RECORDS_FILE, *root.glob(f"*/{RECORDS_FILE}")]) if path.is_file()]
    if not found:
        raise InputError(f"{root}: no {RECORDS_FILE} in it or one folder below (make one: rsvlm data prepare)")
    return found


def find_faults(folder: Path) -> Iterator[str]:
    """Yield a line for each fault of a prepared set."""
    try:
        records = list(read_records(folder))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        yield f"{folder / RECORDS_FILE}: a line is no record: {error!r}"
        return
    sides: dict[str, set[str]] = defaultdict(set)
    seen: set[str] = set()
    for record in records:
        where = f"{folder.name} {record.id}"
        if record.id in seen:
            yield f"{where}: two records have this id"
        seen.add(record.id)
        sides[record.place].add(record.split)
        try:
            yield from (f"{where}: {fault}" for fault in _faults_of(record, folder))
        except OSError as error:
            yield f"{where}: {error}"
    yield from (f"{folder.name}: the place {p!r} is on both sides" for p, side in sides.items() if len(side) > 1)


def _faults_of(record: Record, folder: Path) -> Iterator[str]:
    sizes = []
    for path in record.images:
        with Image.open(folder / path) as image:
            sizes.append(image.size)
    if len(sizes) not in (1, 2) or len(set(sizes)) != 1:
        yield f"images of {sizes} px, wanted one, or two of one size"
        return
    width, height = sizes[0]
    for item in (*record.objects, *record.phrases):
        x1, y1, x2, y2 = item.box_px
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            yield f"the box {item.box_px} of {item.label!r} is not inside {width} x {height} px"
    for label, x, y in record.points:
        if not (0 <= x <= width and 0 <= y <= height):
            yield f"the point {(x, y)} of {label!r} is not inside {width} x {height} px"
    if record.mask is None:
        return
    with Image.open(folder / record.mask) as image:
        cells = np.asarray(image)
    if cells.shape != (height, width):
        yield f"a mask of {cells.shape[::-1]} px on an image of {width} x {height} px"
    if odd := set(np.unique(cells).tolist()) - {0, UNLABELLED, *range(1, len(record.mask_labels) + 1)}:
        yield f"its mask holds {sorted(odd)}, and there are {len(record.mask_labels)} labels"


def check_published(source: Source, folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield a line, and whether it is good news, for each archive that lies in the folder, and for its layout.

    The layout is tried by converting the first record.
    """
    for name, wanted in source.archives.items():
        if (path := folder / name).is_file():
            found = md5_of(path)
            yield f"{name}: {found}" + ("" if found == wanted else f", wanted {wanted}"), found == wanted
    with TemporaryDirectory() as scratch:
        try:
            prepared = prepare_set(replace(source, convert=partial(first_record, source)), folder, Path(scratch))
        except InputError as error:
            yield str(error), False
        else:
            (record,) = read_records(prepared)
            yield f"{folder}: the layout of {source.name}, first record {record.id}", True


def first_record(source: Source, root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield the first record of a source alone."""
    return islice(source.convert(root, out), 1)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()

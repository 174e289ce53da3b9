"""Convert every data set that is found into records: ``python -m train.data.prepare --root DATA --out PREPARED``."""

import argparse
import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree.ElementTree import ParseError

from rich.console import Console
from rich.table import Table

from rsvlm_cli.errors import InputError, RsvlmError
from train.data.convert import SOURCES
from train.data.convert.source import PreparedSet, Source
from train.data.records import SET_FILE, Record, read_records, read_set_facts, write_records

log = logging.getLogger(__name__)

TABLE_COLUMNS = 150


def prepare_set(source: Source, root: Path, out: Path, *, partial: bool = False) -> Path:
    """Convert one set into ``out/NAME`` and return that folder.

    The set is built beside its place and renamed, so a run that fails leaves the former one and nothing else.

    Args:
        source: the set.
        root: the data root that holds ``source.folder``, or the set's own folder where that is empty.
        out: folder of all prepared sets.
        partial: that its images may show things nobody labelled, so that no class is complete.

    Raises:
        InputError: if the set's files do not follow its layout.
    """
    target, folder = out / source.name, root / source.folder
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out, prefix=f".{source.name}.") as scratch:
        part = Path(scratch) / source.name
        part.mkdir()
        try:
            records = source.convert(folder, PreparedSet(source, part))
            n = write_records(part, without_claims(records) if partial else records)
        except (OSError, KeyError, ValueError, ParseError) as error:
            layout = source.convert.__module__.replace(".", "/")
            raise InputError(f"{folder}: {error!r}, wanted the set's own layout (see {layout}.py)") from error
        if not n:
            raise InputError(f"{folder}: holds no image of the layout {source.layout or source.name}")
        facts = json.dumps(source.describe() | {"records": n}, indent=1, ensure_ascii=False)
        (part / SET_FILE).write_text(facts + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    return target


def without_claims(records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records with no class complete."""
    return (replace(record, complete=()) for record in records)


def prepare(sources: Sequence[Source], root: Path, out: Path) -> dict[str, list[Record]]:
    """Convert the sets that lie below ``root`` and return the records of each; an absent set is named on the log."""
    prepared = {}
    for source in sources:
        if not (root / source.folder).is_dir():
            log.warning("%s: skipped, no folder %s", source.name, root / source.folder)
            continue
        prepared[source.name] = list(read_records(prepare_set(source, root, out)))
    return prepared


def counts_table(prepared: dict[str, list[Record]], terms: dict[str, str]) -> Table:
    """Return a table with a row a set: records of either side, and what they hold."""
    table = Table()
    for head in ("set", "terms"):
        table.add_column(head, no_wrap=True)
    for head in ("train", "val", "places", "boxes", "points", "phrases", "captions", "questions", "masks"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("labels", overflow="fold")
    for name, records in prepared.items():
        sides = Counter(record.split for record in records)
        figures = (
            sides["train"],
            sides["val"],
            len({record.place for record in records}),
            sum(len(record.objects) for record in records),
            sum(len(record.points) for record in records),
            sum(len(record.phrases) for record in records),
            sum(len(record.captions) for record in records),
            sum(len(record.questions) for record in records),
            sum(record.mask is not None for record in records),
        )
        table.add_row(name, terms.get(name, ""), *(f"{n:,}" for n in figures), shorten(labels_of(records)))
    return table


def shorten(words: Sequence[str], n_most: int = 10) -> str:
    """Return the words as one text, or their number where there are too many for a table."""
    return ", ".join(words) if len(words) <= n_most else f"{len(words)} labels"


def labels_of(records: Sequence[Record]) -> list[str]:
    """Return the distinct words of objects, points and masks, and scenes, by name."""
    words = {box.label for record in records for box in record.objects}
    words |= {label for record in records for label, _, _ in record.points}
    words |= {label for record in records for label in record.mask_labels}
    return sorted(words | {record.scene for record in records if record.scene})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m train.data.prepare", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds core/ and research-only/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the prepared sets")
    parser.add_argument("--only", nargs="+", choices=sorted(SOURCES), metavar="NAME", help="these sets alone")
    parser.add_argument("--core-only", action="store_true", help="leave out sets with research-only terms")
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    wanted = [source for source in SOURCES.values() if not arguments.only or source.name in arguments.only]
    if arguments.core_only:
        wanted = [source for source in wanted if source.terms == "open"]
    try:
        prepared = prepare(wanted, arguments.root, arguments.out)
    except RsvlmError as error:
        log.error("error: %s", error)
        return error.exit_code
    terms = {name: str(read_set_facts(arguments.out / name).get("terms", "")) for name in prepared}
    Console(width=TABLE_COLUMNS).print(counts_table(prepared, terms))
    return 0


if __name__ == "__main__":
    sys.exit(main())

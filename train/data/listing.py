"""What `rsvlm data` does with the registry: list it, prepare from it, check with it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rsvlm_cli.errors import InputError, OutputExists, UsageError
from train.data.check import check_published, find_faults, prepared_folders
from train.data.convert import FORMATS, PUBLISHED, REGISTRY, SOURCES
from train.data.convert.source import Source
from train.data.prepare import counts_table, prepare_set
from train.data.records import RECORDS_FILE, read_records, read_set_facts

KINDS = (("your own data", FORMATS), ("public sets", PUBLISHED), ("sets of the embedded model", SOURCES))
FAULTS_TOLD = 20


def describe_registry() -> dict[str, Any]:
    """Return what is known of every set, by name, with the kind it is of."""
    return {source.name: {"kind": kind} | source.describe() for kind, sources in KINDS for source in sources.values()}


def registry_table() -> Table:
    """Return a table with a row a set."""
    table = Table()
    for head in ("name", "terms"):
        table.add_column(head, no_wrap=True)
    for head in ("teaches", "its folder holds"):
        table.add_column(head, overflow="fold")
    for kind, sources in KINDS:
        table.add_row(Text(kind, style="bold"))
        for source in sources.values():
            table.add_row(source.name, source.terms, Text(source.teaches), Text(source.layout or f"{source.folder}/"))
        table.add_section()
    return table


def find_source(name: str) -> Source:
    """Return a source by name.

    Raises:
        UsageError: if there is none.
    """
    if name not in REGISTRY:
        raise UsageError(f"{name!r} is no known set or layout, wanted one of: {', '.join(REGISTRY)}")
    return REGISTRY[name]


def prepare_named(
    folder: Path, out: Path, layout: str | None, *, name: str | None, partial: bool, overwrite: bool
) -> Table:
    """Prepare one set, or without a layout every set of the embedded model below a root.

    Raises:
        UsageError: if the layout is unknown, or a name comes without one.
        InputError: if the folder is not there or holds no set.
        OutputExists: if a set was prepared before and may not be replaced.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder (wanted the data set's)")
    if layout is None:
        if name:
            raise UsageError("--name names one set, so it wants --as too (rsvlm data list)")
        sources = [source for source in SOURCES.values() if (folder / source.folder).is_dir()]
        if not sources:
            raise InputError(f"{folder}: holds none of the known sets (for a single set add --as, see rsvlm data list)")
    else:
        found = find_source(layout)
        sources = [replace(found, name=name or found.name, folder="")]
    taken = [source.name for source in sources if (out / source.name / RECORDS_FILE).exists()]
    if taken and not overwrite:
        raise OutputExists(f"{out}: {', '.join(taken)} is there already (--overwrite replaces it)")
    prepared = {source.name: prepare_set(source, folder, out, partial=partial) for source in sources}
    terms = {source.name: source.terms for source in sources}
    return counts_table({key: list(read_records(path)) for key, path in prepared.items()}, dict(terms))


def check_folder(folder: Path, layout: str | None) -> Iterator[str]:
    """Yield the good news of a check, line by line.

    Raises:
        InputError: at the end, if there was a fault; it names the first ones.
    """
    faults: list[str] = []
    if layout is not None:
        for line, good in check_published(find_source(layout), folder):
            if good:
                yield line
            else:
                faults.append(line)
    else:
        for path in prepared_folders(folder):
            found = list(find_faults(path))
            faults += found
            if not found:
                n = sum(1 for _ in read_records(path))
                yield f"{path.name}: {n:,} records are whole, terms: {read_set_facts(path).get('terms', 'not stated')}"
    if faults:
        more = f"; and {len(faults) - FAULTS_TOLD} more" if len(faults) > FAULTS_TOLD else ""
        raise InputError(f"{len(faults)} faults: {'; '.join(faults[:FAULTS_TOLD])}{more}")

"""Pieces of HTML: every value that comes from a model, a file or a user is escaped here, and nowhere else."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass


class Markup(str):
    """Text that is HTML already; every other string is escaped where it enters a page."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Return a value as HTML text, fit for an element or a quoted attribute; control characters become visible."""
    if isinstance(value, Markup):
        return value
    shown = "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in str(value))
    return Markup(html.escape(shown, quote=True))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """Return an element; attribute ``data_row`` is written ``data-row``, ``class_`` is ``class``; None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(content)}</{name}>")


def join(parts: Iterable[object]) -> Markup:
    """Return parts one after another."""
    return Markup("".join(escape(part) for part in parts))


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], row_attributes: Sequence[Mapping[str, object]] = ()
) -> Markup:
    """Return a table whose headings are buttons that sort it."""
    attributes = iter(row_attributes)
    head = tag("tr", *(tag("th", tag("button", name, type="button"), scope="col") for name in headings))
    body = [tag("tr", *(tag("td", cell) for cell in row), **next(attributes, {})) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", *body))


def facts(values: Mapping[str, object]) -> Markup:
    """Return names and values as a table of two columns."""
    rows = (tag("tr", tag("th", heading(name), scope="row"), tag("td", plain(value))) for name, value in values.items())
    return tag("table", tag("tbody", *rows))


def heading(name: str) -> str:
    """Return a field's name for people: ``area_m2`` is ``area (m²)``."""
    words, _, unit = name.rpartition("_")
    units = {"m2": "m²", "m": "m", "px": "px"}
    return f"{words.replace('_', ' ')} ({units[unit]})" if words and unit in units else name.replace("_", " ")


def plain(value: object) -> str:
    """Return a value of a result as text; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    if is_dataclass(value):
        return plain({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        return ", ".join(f"{heading(str(key))} {plain(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return ("; " if value and is_dataclass(value[0]) else ", ").join(map(plain, value))
    return str(value)

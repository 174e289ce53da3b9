"""The JSON Schema (2020-12) of what ``--json`` prints, generated from the dataclasses that it is printed from."""

import types
from dataclasses import fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from rsvlm_cli.output.document import EXTRA, OMITTED, RESULT_KINDS
from rsvlm_cli.results import SCHEMA_VERSION, Report

_PLAIN = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}


def build_schema() -> dict[str, Any]:
    """Return the schema of one report."""
    definitions: dict[str, Any] = {}
    root = _object(Report, definitions)
    head = {
        "schema_version": {"const": SCHEMA_VERSION},
        "rsvlm": {"type": "string", "description": "version of the tool"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:rsvlm:report:{SCHEMA_VERSION}",
        "title": "rsvlm report",
        **root,
        "properties": head | root["properties"],
        "required": [*head, *root["required"]],
        "$defs": definitions,
    }


def _object(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a dataclass as `rsvlm_cli.output.document` writes it."""
    properties: dict[str, Any] = {}
    if cls in RESULT_KINDS:
        properties["kind"] = {"const": RESULT_KINDS[cls]}
    for part in (cls, *EXTRA.get(cls, ())):
        hints, notes = get_type_hints(part), _attribute_notes(part)
        for field in fields(part):
            if field.name not in OMITTED.get(cls, ()):
                note = {"description": notes[field.name]} if field.name in notes else {}
                properties[field.name] = _schema(hints[field.name], definitions) | note
    return {
        "type": "object",
        "description": (cls.__doc__ or "").split("\n")[0],
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _schema(annotation: type, definitions: dict[str, Any]) -> dict[str, Any]:
    if annotation in _PLAIN:
        return dict(_PLAIN[annotation])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(argument, definitions) for argument in arguments]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        n = len(arguments)
        items = [_schema(argument, definitions) for argument in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": n, "maxItems": n}
    if annotation.__name__ not in definitions:
        definitions[annotation.__name__] = {}  # The name is taken before its own fields are walked.
        definitions[annotation.__name__] = _object(annotation, definitions)
    return {"$ref": f"#/$defs/{annotation.__name__}"}


def _attribute_notes(cls: type) -> dict[str, str]:
    """Read the ``Attributes:`` section of a Google-style docstring: name -> text."""
    notes: dict[str, str] = {}
    names: list[str] = []
    for line in (cls.__doc__ or "").partition("Attributes:")[2].splitlines():
        indent = len(line) - len(line.lstrip())
        head, colon, text = line.strip().partition(": ")
        if indent == 8 and colon:
            names = head.split(", ")
            notes |= dict.fromkeys(names, text)
        elif indent > 8:
            notes |= {name: f"{notes[name]} {line.strip()}" for name in names}
    return notes

"""A report as JSON: the fields of the results' dataclasses, and beside each box and mask its place on the map.

`rsvlm_cli.output.schema` is generated from the same classes, so what is printed and what is promised are one thing.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsvlm_cli import __version__
from rsvlm_cli.errors import NotGeoreferenced
from rsvlm_cli.geo.georef import Georeference, box_ring, close_ring
from rsvlm_cli.geo.write import polygonise_mask
from rsvlm_cli.results import SCHEMA_VERSION, Answer, Box, ClassScores, Count, Hop, Mask, Report, Result, Source

Point = tuple[float, float]
Ring = tuple[Point, ...]

LONLAT_DECIMALS = 7
"""About a centimetre; RFC 7946 section 11.2 asks for no more than is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a box or a mask's area lies.

    Attributes:
        ring_crs: its four corners in the raster's coordinate system, closed, or None without a georeference.
        ring_lonlat: the same in longitude and latitude, degrees.
    """

    ring_crs: Ring | None
    ring_lonlat: Ring | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxPlace(Place):
    """Where a box lies.

    Attributes:
        area_m2: its area on the ground in square metres, or None without a georeference.
    """

    area_m2: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCover:
    """How much of a mask a label covers.

    Attributes:
        label: the class word.
        value: of its cells.
        share: of the cells that hold data, in [0, 1].
        area_m2: its ground area in square metres, or None without a georeference.
        mean_probability: of its cells, or None.
        n_patches: how many patches of cells that share a side it has.
    """

    label: str
    value: int
    share: float
    area_m2: float | None
    mean_probability: float | None
    n_patches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskCells(Place):
    """A mask's cells and where they lie.

    Attributes:
        size_cells: columns and rows.
        runs: the cells in rows from the top left, as pairs of value and count.
        cover: each label's share.
    """

    size_cells: tuple[int, int]
    runs: tuple[tuple[int, int], ...]
    cover: tuple[LabelCover, ...]


RESULT_KINDS: dict[type, str] = {
    Answer: "answer",
    ClassScores: "class_scores",
    Count: "count",
    Box: "box",
    Hop: "hop",
    Mask: "mask",
}
EXTRA: dict[type, tuple[type, ...]] = {Box: (BoxPlace,), Hop: (BoxPlace,), Mask: (MaskCells,)}
OMITTED: dict[type, tuple[str, ...]] = {Mask: ("cells", "probability")}
"""Arrays: the cells are written as runs, and of the probabilities the mean of each label."""


def report_to_json(report: Report) -> dict[str, Any]:
    """Return the JSON form of a report; `rsvlm schema` describes it."""
    head = {"schema_version": SCHEMA_VERSION, "rsvlm": __version__}
    root = {field.name: getattr(report, field.name) for field in fields(report) if field.name != "results"}
    results = [_result(result, report.sources[0]) for result in report.results]
    return {key: _plain(value) for key, value in (head | root | {"results": results}).items()}


def dump(document: dict[str, Any], *, indent: int | None = None) -> str:
    """Write JSON text; numbers that JSON does not know are refused, not written. Indented, a flat list is a line."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent)
    # A line break is never inside a JSON string, so this touches the layout alone.
    return text if indent is None else re.sub(r"\[\n[^][{}]*\]", lambda part: re.sub(r"\n\s*", " ", part[0]), text)


def _result(result: Result, source: Source) -> dict[str, Any]:
    omitted = OMITTED.get(type(result), ())
    values = {field.name: getattr(result, field.name) for field in fields(result) if field.name not in omitted}
    place: Place | None = None
    if isinstance(result, Box):
        place = place_box(result, source)
    elif isinstance(result, Mask):
        place = place_mask(result, source)
    more = {field.name: getattr(place, field.name) for field in fields(place)} if place else {}
    return {"kind": RESULT_KINDS[type(result)]} | values | more


def georeference(source: Source) -> Georeference | None:
    """Return a source's georeference, or None where it has none."""
    return Georeference.of(source) if source.crs is not None and source.transform is not None else None


def area_m2(reference: Georeference | None, rings_px: Sequence[np.ndarray]) -> float | None:
    """Return a polygon's ground area in square metres, or None where its place on Earth is not known."""
    try:
        return None if reference is None else round(reference.area_m2(rings_px), 2)
    except NotGeoreferenced:
        return None


def name_date(source: Source) -> str:
    """Return a date's name for people: its date, or the file's name where none is known."""
    return source.date or Path(source.path).name


def name_pair(result: Answer | Mask, report: Report) -> str:
    """Return the names of the two dates that a result lies between, or nothing for a result of one date."""
    return "" if result.pair is None else " → ".join(name_date(report.sources[k]) for k in result.pair)


def place_box(box: Box, source: Source) -> BoxPlace:
    """Return where a box lies."""
    reference, ring_px = georeference(source), np.array(box.outline_px)
    area = area_m2(reference, [ring_px])
    return BoxPlace(ring_crs=_ring_crs(reference, ring_px), ring_lonlat=_ring_lonlat(reference, ring_px), area_m2=area)


def place_mask(mask: Mask, source: Source) -> MaskCells:
    """Return a mask's cells as runs, and where they lie."""
    reference, ring_px = georeference(source), box_ring(mask.area_px)
    flat = mask.cells.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    runs = tuple((int(flat[a]), int(b - a)) for a, b in zip(starts, [*starts[1:], flat.size], strict=True))
    rows, columns = mask.cells.shape
    return MaskCells(
        ring_crs=_ring_crs(reference, ring_px),
        ring_lonlat=_ring_lonlat(reference, ring_px),
        size_cells=(columns, rows),
        runs=runs,
        cover=cover(mask, source),
    )


def cover(mask: Mask, source: Source) -> tuple[LabelCover, ...]:
    """Return how much of a mask each label covers."""
    area = area_m2(georeference(source), [box_ring(mask.area_px)])
    n_known = int((mask.cells != 255).sum())
    n_patches = Counter(patch.label for patch in polygonise_mask(mask))
    covers = []
    for value, label in enumerate(mask.labels, start=1):
        here = mask.cells == value
        n = int(here.sum())
        covers.append(
            LabelCover(
                label=label,
                value=value,
                share=n / n_known if n_known else 0.0,
                area_m2=None if area is None else round(area * n / mask.cells.size, 2),
                mean_probability=None if mask.probability is None or n == 0 else float(mask.probability[here].mean()),
                n_patches=n_patches[label],
            )
        )
    return tuple(covers)


def _ring_crs(reference: Georeference | None, ring_px: np.ndarray) -> Ring | None:
    return None if reference is None else tuple(reference.ring_crs(ring_px))


def _ring_lonlat(reference: Georeference | None, ring_px: np.ndarray) -> Ring | None:
    try:
        corners = None if reference is None else reference.px_to_lonlat(close_ring(ring_px))
    except NotGeoreferenced:
        corners = None
    if corners is None:
        return None
    return tuple((round(float(lon), LONLAT_DECIMALS), round(float(lat), LONLAT_DECIMALS)) for lon, lat in corners)


def _plain(value: object) -> object:
    """Turn dataclasses and tuples into what `json` writes."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value

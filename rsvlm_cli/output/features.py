"""A report as map features: one polygon each, with its attributes; shared by GeoJSON and GeoPackage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsvlm_cli.errors import NotGeoreferenced
from rsvlm_cli.geo.georef import Georeference, box_ring, close_ring
from rsvlm_cli.geo.write import polygonise_mask
from rsvlm_cli.output.document import area_m2, georeference, name_date
from rsvlm_cli.results import Answer, Box, ClassScores, Hop, Mask, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One polygon.

    Attributes:
        rings_px: outer ring first, each ``(N, 2)``, in pixels of the first source.
        properties: flat; the same keys in every feature of a report.
    """

    rings_px: tuple[np.ndarray, ...]
    properties: dict[str, Any]


def report_features(report: Report) -> list[Feature]:
    """Return a feature for each box, each connected region of a mask, and, of words, the window they speak of."""
    source = report.sources[0]
    reference = georeference(source)
    features = []
    for rings, words in _parts(report):
        xy = rings[0]
        properties = {
            "task": report.task, "label": None, "text": None, "question": None, "score": None,
            "date_before": None, "date": source.date,
        } | words  # fmt: skip
        properties["area_m2"] = area_m2(reference, rings)
        properties |= _lengths(reference, rings)
        properties |= dict(
            zip(("x1_px", "y1_px", "x2_px", "y2_px"), map(float, (*xy.min(axis=0), *xy.max(axis=0))), strict=True)
        )
        properties |= {"source": source.path, "model": report.model[0]}
        features.append(Feature(rings_px=rings, properties=properties))
    return features


def _parts(report: Report) -> Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]:
    footprint = (box_ring(report.sources[0].window_px),)
    for result in report.results:
        if isinstance(result, Hop):
            words = {"label": result.label, "text": result.answer, "question": result.question, "score": result.score}
            yield (np.array(result.outline_px),), words
        elif isinstance(result, Box):
            yield (np.array(result.outline_px),), {"label": result.label, "score": result.score}
        elif isinstance(result, Mask):
            for patch in polygonise_mask(result):
                yield patch.rings_px, {"label": patch.label, "score": patch.score} | _dates(result, report)
        elif isinstance(result, Answer):
            words = {"text": result.text, "question": result.question, "score": result.score}
            yield footprint, words | _dates(result, report)
        elif isinstance(result, ClassScores):
            yield footprint, {"label": result.labels[0], "score": result.probabilities[0]}


def _dates(result: Answer | Mask, report: Report) -> dict[str, str]:
    """Return the two dates that a change lies between; where one is not known, the raster's name stands for it."""
    if result.pair is None:
        return {}
    before, after = (report.sources[k] for k in result.pair)
    return {"date_before": name_date(before), "date": name_date(after)}


def _lengths(reference: Georeference | None, rings_px: Sequence[np.ndarray]) -> dict[str, float | None]:
    """Return the longest way across a polygon and the length of its outer edge, in metres; None without a place."""
    try:
        if reference is not None:
            ring = close_ring(rings_px[0])
            across, around = reference.extent_m(ring), reference.length_m(ring, steps=4)
            return {"length_m": round(across, 2), "perimeter_m": round(around, 2)}
    except NotGeoreferenced:
        pass
    return {"length_m": None, "perimeter_m": None}

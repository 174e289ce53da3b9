"""A report as one HTML file: it opens offline, loads nothing, and runs its own script alone.

The page says everything without its script; the script (page.js) moves the map. What a browser may do with the file is
fixed by its content-security policy: the one script and the one style by their hashes, images from the file itself.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from rsvlm_cli import __version__
from rsvlm_cli.errors import NotGeoreferenced
from rsvlm_cli.output.document import cover, georeference, name_pair
from rsvlm_cli.output.features import report_features
from rsvlm_cli.output.mapview import Layer, css_colour, describe_view, draw_dates, draw_north, list_layers
from rsvlm_cli.output.markup import Markup, escape, facts, heading, join, plain, table, tag
from rsvlm_cli.output.overlay import Picture
from rsvlm_cli.results import Answer, Box, ClassScores, Count, Mask, Report, Result

MAX_PAGE_SIDE_PX = 2048
"""Of a picture: some 2 MB a date."""
MAX_ROWS = 1000
"""Of a table; all rows are in the files that ``--out`` writes."""
SHOWN_ELSEWHERE = {"task", "source", "model", "text", "question", "box_px", "score_method"}
CORNERS = ("x1_px", "y1_px", "x2_px", "y2_px")


def build_page(report: Report, pictures: Sequence[Picture], command: str) -> str:
    """Return the page.

    Args:
        report: what to show; its words may be anything.
        pictures: one a date, all of one area.
        command: what the user typed.
    """
    parts = {name: files(__package__).joinpath(f"page.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    x1, y1, x2, y2 = report.sources[0].window_px
    names = [Path(source.path).name for source in report.sources]
    policy = (
        f"default-src 'none'; img-src data:; script-src {_hash(parts['js'])}; style-src {_hash(parts['css'])}; "
        "base-uri 'none'; form-action 'none'"
    )
    layers = list_layers(report)
    drawn = [
        tag("g", layer.drawing, id=f"layer-{k}", class_="mask" if layer.is_mask else None)
        for k, layer in enumerate(layers)
    ]
    # In JSON, "<" stands in strings alone: written so, no word of a model can end the element.
    view = json.dumps(describe_view(report.sources[0]), allow_nan=False).replace("<", "\\u003c")
    values = {
        "policy": policy,
        "css": parts["css"],
        "script": parts["js"],
        "title": escape(f"{report.task}: {' → '.join(names)}"),
        "subtitle": escape(f"rsvlm {__version__}, model {report.model[0]}; {_describe_ground(report)}"),
        "notes": join(tag("p", warning, class_="note") for warning in _notes(report)),
        "viewbox": " ".join(map(plain, (x1, y1, x2 - x1, y2 - y1))),
        **{name: plain(v) for name, v in zip(("x", "y", "width", "height"), (x1, y1, x2 - x1, y2 - y1), strict=True)},
        "images": draw_dates(pictures),
        "layers": join(drawn),
        "north": draw_north(report.sources[0]),
        "swipe": _swipe([picture.title for picture in pictures]),
        "toggles": _toggles(layers),
        "answers": join(_sections(report)),
        "tables": join(_tables(report)),
        "provenance": _provenance(report, command),
        "transcript": _transcript(report),
        "view": view,
    }
    return Template(parts["html"]).substitute(values)


def _hash(text: str) -> str:
    """Return a source of a content-security policy: what the text of an inline element must hash to."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _describe_ground(report: Report) -> str:
    source = report.sources[0]
    x1, y1, x2, y2 = source.window_px
    size = f"window of {plain(x2 - x1)} x {plain(y2 - y1)} px"
    return size if source.gsd_m is None else f"{size}, {source.gsd_m:.3g} m a pixel"


def _notes(report: Report) -> Iterator[str]:
    yield from report.warnings
    if report.truncated:
        yield "A reply was cut by the token budget: what follows is what there is of it."
    if not report.results:
        yield "Nothing was found."


def _swipe(titles: Sequence[str]) -> Markup:
    """Return the control that moves the line between two dates, and what stands to its left and right."""
    if len(titles) < 2:
        return Markup()
    sides = [
        tag(
            "select",
            *(tag("option", title, value=k, selected="" if k == shown else None) for k, title in enumerate(titles)),
            id=side, title=f"Shown on the {side}",
        )
        for side, shown in (("left", 0), ("right", len(titles) - 1))
    ]  # fmt: skip
    return join([sides[0], Markup('<input type="range" id="swipe" max="1000" value="500" title="Swipe">'), sides[1]])


def _toggles(layers: Sequence[Layer]) -> Markup:
    rows = []
    for k, layer in enumerate(layers):
        box = Markup(f'<input type="checkbox" checked autocomplete="off" data-layer="layer-{k}">')
        swatch = tag("svg", tag("rect", width=12, height=12, fill=css_colour(layer.colour)), width=12, height=12)
        rows.append(tag("label", box, swatch, layer.title))
    if any(layer.is_mask for layer in layers):
        slider = Markup('<input type="range" id="opacity" max="100" value="50" autocomplete="off">')
        rows.append(tag("label", "masks' opacity ", slider))
    return join(rows) if rows else tag("p", "This task draws nothing over the picture.")


def _sections(report: Report) -> Iterator[Markup]:
    """Give the answers in words, and the classes with their probabilities."""
    for result in report.results:
        if isinstance(result, Answer):
            score = "" if result.score is None else f"score {result.score:.3f}, {result.score_method}"
            cut = "cut by the token budget" if result.truncated else ""
            yield tag(
                "section",
                tag("h2", result.question or report.task.replace("-", " ").capitalize()),
                tag("blockquote", result.text),
                tag("p", "; ".join(filter(None, (name_pair(result, report), score, cut)))),
            )
        elif isinstance(result, ClassScores):
            rows = [
                (label, tag("meter", value=plain(p)), f"{p:.4f}")
                for label, p in zip(result.labels, result.probabilities, strict=True)
            ]
            shown = table(("label", "", "probability"), rows)
            yield tag("section", tag("h2", "Classes"), shown, tag("p", result.score_method))


def _tables(report: Report) -> Iterator[Markup]:
    """Give the counts, the boxes, what each mask covers, and its patches."""
    counts = [result for result in report.results if isinstance(result, Count)]
    if counts:
        rows = [(count.label, str(count.n), f"{count.min_score:g}") for count in counts]
        yield _section("Counts", table(("label", "n", "boxes from"), rows), "boxes that score at least so much")
    boxes = [result for result in report.results if isinstance(result, Box)]
    if boxes:
        methods = dict.fromkeys(box.score_method for box in boxes if box.score_method)
        yield _section("Boxes", _places(report, boxes), f"score: {'; '.join(methods)}" if methods else "")
    for mask in (result for result in report.results if isinstance(result, Mask)):
        covers = cover(mask, report.sources[0])
        names = [field.name for field in fields(covers[0])] if covers else []
        cells = [[_cell(name, getattr(line, name)) for name in names] for line in covers]
        between = name_pair(mask, report)
        yield _section(f"Cover {between}", table([heading(name) for name in names], cells), mask.score_method or "")
        yield _section(f"Patches {between}", _places(report, [mask]), "")


def _section(title: str, content: Markup, note: str) -> Markup:
    return tag("section", tag("h2", title), content, tag("p", note) if note else "")


def _places(report: Report, results: Sequence[Result]) -> Markup:
    """Return a table of places: what is known of each, its corners in pixels, its middle in degrees."""
    own = [{field.name: getattr(box, field.name) for field in fields(box)} for box in results if isinstance(box, Box)]
    features = report_features(replace(report, results=tuple(results)))
    rows = [
        (own[k] if own else {})
        | {name: value for name, value in feature.properties.items() if not own or name not in own[k]}
        for k, feature in enumerate(features[:MAX_ROWS])
    ]
    if not rows:
        return tag("p", "None.")
    names = [
        name
        for name in dict.fromkeys(key for row in rows for key in row)
        if name not in (*SHOWN_ELSEWHERE, *CORNERS) and any(row.get(name) is not None for row in rows)
    ]
    corners = np.array([[row[name] for name in CORNERS] for row in rows])
    middles = _middles_lonlat(report, corners)
    cells = [
        [
            *(_cell(name, row.get(name)) for name in names),
            ", ".join(f"{v:.1f}" for v in corners[k]),
            *(() if middles is None else (f"{middles[k][0]:.6f}", f"{middles[k][1]:.6f}")),
        ]
        for k, row in enumerate(rows)
    ]
    headings = [*map(heading, names), "x1, y1, x2, y2 (px)", *(() if middles is None else ("lon", "lat"))]
    marks = [
        {"id": f"box-{k}" if own else None, "data_box": ",".join(map(plain, map(float, corners[k])))}
        for k in range(len(rows))
    ]
    shown = table(headings, cells, marks)
    if len(features) == len(rows):
        return shown
    return join([tag("p", f"The first {len(rows)} of {len(features)}; --out writes them all."), shown])


def _middles_lonlat(report: Report, corners: np.ndarray) -> np.ndarray | None:
    """Return the middles ``(N, 2)`` of boxes ``(N, 4)`` in longitude and latitude, or None without such a place."""
    reference = georeference(report.sources[0])
    try:
        return None if reference is None else reference.px_to_lonlat((corners[:, :2] + corners[:, 2:]) / 2)
    except NotGeoreferenced:
        return None


def _cell(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2%}" if name == "share" else f"{value:.3f}" if value <= 1 else f"{value:.1f}"
    return plain(value)


def _provenance(report: Report, command: str) -> Markup:
    """Return what is needed to do it again: command, model, sources, times; every field of the report that is left."""
    shown = {"model", "sources", "results", "truncated", "warnings", "transcript", "n_asked"}
    run: dict[str, Any] = {
        "command": command,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "rsvlm": __version__,
        "model": report.model[0],
        "model sha256": report.model[1],
    }
    run |= {field.name: getattr(report, field.name) for field in fields(report) if field.name not in shown}
    parts = [facts(run)]
    for source in report.sources:
        values = {field.name: getattr(source, field.name) for field in fields(source)}
        parts += [tag("h3", f"Source {Path(source.path).name}"), facts(values)]
    return join(parts)


def _transcript(report: Report) -> Markup:
    """Return the prompts and replies word by word."""
    if not report.transcript:
        return tag("p", "Nothing was asked of the model.")
    parts = []
    if report.n_asked > len(report.transcript):
        parts.append(tag("p", f"The first {len(report.transcript)} of {report.n_asked} prompts and their replies."))
    for exchange in report.transcript:
        reply = exchange.reply + (" … (cut by the token budget)" if exchange.truncated else "")
        if exchange.choices:
            reply = "\n".join(f"{text}: log-likelihood {score:.4f}" for text, score in exchange.choices)
        parts += [tag("p", f"window {plain(exchange.window_px)} (px)"), tag("pre", exchange.prompt), tag("pre", reply)]
    return join(parts)

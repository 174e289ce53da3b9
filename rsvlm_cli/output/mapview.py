"""The map of an HTML report: one SVG in the raster's pixels, with a layer for each label; its arithmetic is page.js.

Axes: N grid cells a side.
"""

import base64
import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from rsvlm_cli.errors import NotGeoreferenced
from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.srs import describe_srs
from rsvlm_cli.output.document import RESULT_KINDS, georeference, name_pair
from rsvlm_cli.output.markup import Markup, join, plain, tag
from rsvlm_cli.output.overlay import Picture, label_colours
from rsvlm_cli.output.style import Colour
from rsvlm_cli.results import Box, BoxPx, Mask, Report, Source

JPEG_QUALITY = 88
MAX_CELLS = 2048
"""A mask's longer side in a report; a finer one is thinned out."""
MAX_BOXES = 20_000
"""Drawn in a report; a browser moves as many with ease."""
GRIDS = (8, 32, 128)
MAX_ERROR_PX = 0.25
METRES_A_DEGREE = 111_320


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What can be shown and hidden.

    Attributes:
        title: for people.
        colour: red, green, blue.
        drawing: SVG elements.
        is_mask: whether it is a mask, which is drawn half transparent.
    """

    title: str
    colour: Colour
    drawing: Markup
    is_mask: bool


def draw_dates(pictures: Sequence[Picture]) -> Markup:
    """Return one image a date, each in its place."""
    drawn = []
    for picture in pictures:
        stream = io.BytesIO()
        Image.fromarray(picture.pixels).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        drawn.append(_image(picture.area_px, "jpeg", stream.getvalue()))
    return join(drawn)


def list_layers(report: Report) -> list[Layer]:
    """Return a layer for each label of each mask, and for the boxes of each kind and label."""
    colours = label_colours(report)
    layers = []
    for mask in (result for result in report.results if isinstance(result, Mask)):
        for value, label in enumerate(mask.labels, start=1):
            drawing = _draw_mask(mask, value, colours[label])
            title = f"{label}, {between}" if (between := name_pair(mask, report)) else label
            layers.append(Layer(title=title, colour=colours[label], drawing=drawing, is_mask=True))
    groups: dict[tuple[str, str], list[Markup]] = {}
    boxes = [result for result in report.results if isinstance(result, Box)]
    for row, box in enumerate(boxes[:MAX_BOXES]):
        kind = RESULT_KINDS[type(box)]
        groups.setdefault((kind, box.label), []).append(_draw_box(box, f"{kind} box", f"box-{row}", colours[box.label]))
    for (kind, label), drawn in groups.items():
        title = f"{label} ({len(drawn)})" if kind == "box" else f"{kind}: {label} ({len(drawn)})"
        layers.append(Layer(title=title, colour=colours[label], drawing=join(drawn), is_mask=False))
    return layers


def describe_view(source: Source) -> dict[str, Any]:
    """Return what page.js needs to tell the place under the pointer; JSON types only.

    Keys: ``area_px, gsd_m, transform, crs, crs_decimals, lonlat_decimals``, and ``directions``: (N + 1, N + 1) nodes
    over the area, between which it is straight to a quarter of a pixel where that can be had; or None.
    """
    reference = georeference(source)
    view: dict[str, Any] = {"area_px": source.window_px, "gsd_m": source.gsd_m, "transform": None, "directions": None}
    if reference is None or source.crs is None:
        return view
    step = math.hypot(reference.transform[0], reference.transform[3])
    view["transform"] = source.transform
    view["crs"] = source.crs if len(source.crs) <= 20 else describe_srs(source.crs).name
    view["crs_decimals"] = max(0, math.ceil(-math.log10(step)) + 1)
    degrees = source.gsd_m / METRES_A_DEGREE if source.gsd_m else 1e-6
    view["lonlat_decimals"] = min(8, max(4, math.ceil(-math.log10(degrees)) + 1))
    with suppress(NotGeoreferenced):
        view["directions"] = _direction_nodes(reference, source.window_px).round(10).tolist()  # 0.6 mm on Earth
    return view


def draw_north(source: Source) -> Markup:
    """Return an arrow that points north at the middle of the window, or nothing where that is not known."""
    reference = georeference(source)
    x1, y1, x2, y2 = source.window_px
    try:
        if reference is None:
            return Markup()
        (lon, lat) = reference.px_to_lonlat(np.array([[(x1 + x2) / 2, (y1 + y2) / 2]]))[0]
        here, north = reference.lonlat_to_px(np.array([[lon, lat], [lon, lat + 1e-4 * (1 if lat < 89 else -1)]]))
    except NotGeoreferenced:
        return Markup()
    angle = math.degrees(math.atan2(north[0] - here[0], here[1] - north[1]))
    arrow = tag("g", tag("path", d="M18 32V6m-5 7 5-8 5 8"), transform=f"rotate({angle:.1f} 18 18)")
    return tag("svg", arrow, tag("text", "N", x=26, y=14), id="north", width=40, height=36, data_angle=f"{angle:.1f}")


def _direction_nodes(reference: Georeference, area_px: BoxPx) -> np.ndarray:
    """Return the directions, ``(N + 1, N + 1, 3)`` unit vectors, of longitude and latitude at nodes over an area.

    Directions go smoothly over poles and the antimeridian, which degrees do not.
    """
    x1, y1, x2, y2 = area_px
    for n in GRIDS:
        # Twice as fine as is kept: the nodes between say how far from straight the ground is.
        x, y = np.meshgrid(np.linspace(x1, x2, 2 * n + 1), np.linspace(y1, y2, 2 * n + 1))
        lon, lat = np.radians(reference.px_to_lonlat(np.column_stack([x.ravel(), y.ravel()]))).T
        fine = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        nodes = fine.reshape(2 * n + 1, 2 * n + 1, 3)[::2, ::2]
        guessed = (nodes[:-1, :-1] + nodes[1:, :-1] + nodes[:-1, 1:] + nodes[1:, 1:]).reshape(-1, 3).T
        degrees = np.degrees([np.arctan2(guessed[1], guessed[0]), np.arctan2(guessed[2], np.hypot(*guessed[:2]))])
        true_px = np.column_stack([x[1::2, 1::2].ravel(), y[1::2, 1::2].ravel()])
        if np.abs(reference.lonlat_to_px(degrees.T) - true_px).max() <= MAX_ERROR_PX:
            break
    return nodes


def _draw_mask(mask: Mask, value: int, colour: Colour) -> Markup:
    rows, columns = (
        ((np.arange(n) + 0.5) * side / n).astype(int) for side in mask.cells.shape for n in [min(side, MAX_CELLS)]
    )
    picture = Image.fromarray((mask.cells[np.ix_(rows, columns)] == value).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *colour])
    stream = io.BytesIO()
    picture.save(stream, "PNG", bits=1, transparency=0, optimize=True)
    return _image(mask.area_px, "png", stream.getvalue())


def _draw_box(box: Box, kind: str, row: str, colour: Colour) -> Markup:
    title = box.label if box.score is None else f"{box.label} {box.score:.2f}"
    points = " ".join(f"{plain(x)},{plain(y)}" for x, y in box.outline_px)
    return tag("polygon", tag("title", title), class_=kind, data_row=row, stroke=css_colour(colour), points=points)


def _image(area_px: BoxPx, kind: str, content: bytes) -> Markup:
    href = Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
    return tag("image", href=href, preserveAspectRatio="none", **_place(area_px))


def _place(box_px: BoxPx) -> dict[str, str]:
    x1, y1, x2, y2 = box_px
    return {"x": plain(x1), "y": plain(y1), "width": plain(x2 - x1), "height": plain(y2 - y1)}


def css_colour(colour: Colour) -> str:
    """Return a colour as CSS and SVG write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)

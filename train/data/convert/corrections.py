"""Your own rasters with what you drew on them: the road from corrected results back into training.

Layout: ``STEM.tif`` and ``STEM.gpkg`` side by side, or ``STEM_before.tif``, ``STEM_after.tif`` and ``STEM.gpkg``. The
GeoPackage is what ``rsvlm ... --out STEM.gpkg`` wrote, corrected in a GIS, or any other with a ``label`` a feature. Of
our own layers ``task`` says what a feature is: detected boxes become objects, segments and changes become masks,
answers and captions become questions and captions of the window that they speak of. A polygon without ``task`` is an
object and a piece of mask, a point is a point. Everything of a class that the set knows counts as drawn, throughout the
raster; where only parts were looked through, rectangles in a layer ``checked`` say which.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rsvlm_cli.errors import InputError
from rsvlm_cli.geo import align
from rsvlm_cli.geo.raster import Raster, open_raster
from train.data.convert.coco import tidy_label
from train.data.convert.readers import clip_box, cut_boxes, plan_tiles
from train.data.convert.source import PreparedSet, Source
from train.data.convert.vectors import Drawn, WindowPx, draw_shapes, read_drawn
from train.data.records import Record

TILE_PX = 512
WHOLE_PX = 1024
"""Longer side of the picture of a window that answers speak of."""

BOX_TASKS, MASK_TASKS = ("ground", "detect", "describe"), ("segment", "detect-change")
RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".png")
CHECKED = "checked"
NO_TASK = ""


def convert(root: Path, out: PreparedSet) -> Iterator[Record]:
    """Yield one record a tile that shows data, and one a window that words speak of."""
    paths = sorted(root.glob("*.gpkg"))
    if not paths:
        raise InputError(f"{root}: no *.gpkg in it (wanted STEM.gpkg beside STEM.tif)")
    drawn: dict[Path, list[Drawn]] = {}
    for path in paths:
        with open_dates(path) as dates:
            drawn[path] = list(read_drawn(path, dates[0]))
    boxes = sorted({_label(d) for found in drawn.values() for d in found if _is(d, BOX_TASKS) and _label(d)})
    masks = sorted(
        {_label(d) for found in drawn.values() for d in found if _is(d, MASK_TASKS, area=True) and _label(d)}
    )
    for path, found in drawn.items():
        with open_dates(path) as dates:
            yield from _tiles(path.stem, dates, found, (boxes, masks), out)
            yield from _windows(path.stem, dates, found, out)


@contextmanager
def open_dates(path: Path) -> Iterator[tuple[Raster, ...]]:
    """Open the raster, or the two dates on one grid, that a GeoPackage belongs to.

    Raises:
        InputError: if there is none.
    """

    def beside(stem: str) -> Path | None:
        return next((p for s in RASTER_SUFFIXES if (p := path.with_name(stem + s)).is_file()), None)

    before, after = beside(f"{path.stem}_before"), beside(f"{path.stem}_after")
    if before and after:
        with align.open_dates([before, after]) as dates:
            yield dates.rasters
        return
    single = beside(path.stem)
    if single is None:
        raise InputError(f"{path}: no raster {path.stem}.tif beside it, nor {path.stem}_before.tif and _after.tif")
    with open_raster(single) as raster:
        yield (raster,)


def _tiles(
    stem: str, dates: Sequence[Raster], found: Sequence[Drawn], labels: tuple[list[str], list[str]], out: PreparedSet
) -> Iterator[Record]:
    size_px = (dates[0].width_px, dates[0].height_px)
    shapes = [d for d in found if d.layer != CHECKED]
    objects = [
        box
        for d in shapes
        if _is(d, BOX_TASKS) and d.shape.area and (box := clip_box(_label(d), d.box_px, size_px)) and box.label
    ]
    points = [(_label(d), d.shape.x, d.shape.y) for d in shapes if d.shape.geom_type == "Point" and _label(d)]
    pieces = [(d.shape, labels[1].index(_label(d)) + 1) for d in shapes if _is(d, MASK_TASKS, area=True) and _label(d)]
    for tile in _plan(found, size_px):
        x1, y1, x2, y2 = tile
        chips = [date.read(tile) for date in dates]
        valid = np.logical_and.reduce([chip.valid for chip in chips])
        if not valid.any():
            continue
        name = f"{stem}_{x1}_{y1}"
        inside, cut = cut_boxes(objects, tile)
        mask = np.where(valid, draw_shapes(pieces, tile), 255)
        yield out.record(
            id=name,
            place=name,
            images=tuple(out.add_pixels(chip.pixels, f"{name}_{k}") for k, chip in enumerate(chips)),
            gsd_m=dates[0].gsd_m,
            objects=inside,
            points=tuple((label, x - x1, y - y1) for label, x, y in points if x1 <= x < x2 and y1 <= y < y2),
            complete=tuple(label for label in labels[0] if label not in cut),
            mask=out.add_mask(mask, name) if labels[1] else None,
            mask_labels=tuple(labels[1]),
        )


def _windows(stem: str, dates: Sequence[Raster], found: Sequence[Drawn], out: PreparedSet) -> Iterator[Record]:
    """Yield one record for each window that answers, captions or classes speak of."""
    size_px = (dates[0].width_px, dates[0].height_px)
    spoken: dict[WindowPx, list[Drawn]] = defaultdict(list)
    for d in found:
        if d.words.get("task") in ("ask", "caption", "classify", "describe-change"):
            inside = clip_box("window", d.box_px, size_px)
            if inside:
                x1, y1, x2, y2 = (round(v) for v in inside.box_px)
                spoken[x1, y1, x2, y2].append(d)
    for number, (window, words) in enumerate(spoken.items()):
        width, height = window[2] - window[0], window[3] - window[1]
        shrink = max(1.0, max(width, height) / WHOLE_PX)
        chips = [date.read(window, (round(width / shrink), round(height / shrink))) for date in dates]
        name = f"{stem}_window_{number}"
        by_task = {
            task: [d.words for d in words if d.words["task"] == task] for task in {d.words["task"] for d in words}
        }
        sentences = by_task.get("caption", []) + by_task.get("describe-change", [])
        yield out.record(
            id=name,
            place=stem,
            images=tuple(out.add_pixels(chip.pixels, f"{name}_{k}") for k, chip in enumerate(chips)),
            gsd_m=chips[0].source.model_gsd_m,
            scene=next((w["label"].lower() for w in by_task.get("classify", []) if "label" in w), None),
            captions=tuple(w["text"] for w in sentences if "text" in w),
            questions=tuple(
                (w["question"], w["text"]) for w in by_task.get("ask", []) if {"question", "text"} <= w.keys()
            ),
        )


def _plan(found: Sequence[Drawn], size_px: tuple[int, int]) -> Iterator[WindowPx]:
    """Yield the tiles of what was looked through."""
    checked = [clip_box(CHECKED, d.box_px, size_px) for d in found if d.layer == CHECKED]
    areas = [box.box_px for box in checked if box] or [(0.0, 0.0, float(size_px[0]), float(size_px[1]))]
    for left, top, right, bottom in areas:
        x, y = round(left), round(top)
        for x1, y1, x2, y2 in plan_tiles((round(right) - x, round(bottom) - y), TILE_PX):
            yield (x1 + x, y1 + y, x2 + x, y2 + y)


def _is(d: Drawn, tasks: tuple[str, ...], *, area: bool = False) -> bool:
    if d.layer == CHECKED or (area and not d.shape.area):
        return False
    return d.words.get("task", NO_TASK) in (NO_TASK, *tasks)


def _label(d: Drawn) -> str:
    return tidy_label(d.words.get("label") or d.words.get("class") or "")


FORMAT = Source(
    name="corrections",
    folder="",
    licence="yours",
    terms="your own",
    gsd="in each raster",
    teaches="boxes, masks, counts, change, questions and captions, as you corrected them",
    origin="rsvlm's own results, corrected in a GIS",
    convert=convert,
    layout="STEM.tif (or STEM_before.tif and STEM_after.tif) and STEM.gpkg",
)

"""The other date of a scene: what was built, felled, flooded, or nothing at all.

An edit gives the plan without the change and the plan with it; which of the two comes first is drawn by lot, so every
edit is seen in both directions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from train.data.scenes.elements import OPEN_GROUND, across, lay_road, strip_of
from train.data.scenes.plan import CLEARING, SIZE_PX, Patch, Plan, Thing, blob, rectangle, turned

OBJECT_EDITS = ("building", "building", "building", "storage tank", "airplane", "ship", "solar panel", "swimming pool")


@dataclass(frozen=True, slots=True)
class Edit:
    """One kind of difference between two plans.

    Attributes:
        label: whose presence differs: a class of the mask or an object class.
        kind: ``objects``, ``road``, ``trees`` or ``water``.
        more: whether the second of the two plans has more of it.
    """

    label: str
    kind: str
    more: bool


def make_edit(plan: Plan) -> tuple[Plan, Plan, Edit] | None:
    """Return a plan without and a plan with something, and what it is; None if the plan has no room for an edit."""
    makers: list[Callable[[Plan], tuple[Plan, Plan, Edit] | None]] = [
        _edit_objects,
        _edit_road,
        _clear_trees,
        _grow_water,
    ]
    weights = np.array([0.6, 0.14, 0.16, 0.1])
    for k in plan.rng.choice(len(makers), size=len(makers), replace=False, p=weights):
        made = makers[int(k)](plan)
        if made is not None:
            return made
    return None


def move_vehicles(plan: Plan) -> Plan:
    """Let a random part of the vehicles be elsewhere on this day; nobody calls that a change."""
    share = plan.rng.uniform(0.3, 1.0)
    return _variant(plan, things=[t for t in plan.things if not t.tag.startswith("car:") or plan.rng.random() < share])


def _variant(plan: Plan, *, patches: Iterable[Patch] | None = None, things: Iterable[Thing] | None = None) -> Plan:
    return replace(
        plan,
        patches=list(plan.patches if patches is None else patches),
        things=list(plan.things if things is None else things),
    )


def _edit_objects(plan: Plan) -> tuple[Plan, Plan, Edit] | None:
    """Take a few neighbouring objects of one class away."""
    rng = plan.rng
    present = [label for label in OBJECT_EDITS if any(thing.label == label for thing in plan.things)]
    if not present:
        return None
    label = present[int(rng.integers(len(present)))]
    chosen = [thing for thing in plan.things if thing.label == label]
    n = int(min(len(chosen), rng.choice([1, 1, 2, 2, 3, 4, 5, 6, 8])))
    first = chosen[int(rng.integers(len(chosen)))]
    centre = np.array(_centre(first))
    gone = sorted(chosen, key=lambda thing: float(np.linalg.norm(np.array(_centre(thing)) - centre)))[:n]
    patches = [patch for patch in plan.patches if label != "ship" or patch.tag != "wake"]
    lots: list[Patch] = []
    if label == "building" and rng.random() < 0.4:
        shape = [
            turned(rectangle(*(_extent(thing) * rng.uniform(1.2, 1.6))), _centre(thing), rng.uniform(0, np.pi))
            for thing in gone
        ]
        soil = plan.tone(((168, 140, 110), (186, 164, 134), (150, 124, 98)))
        lots = [Patch(cover="soil", rgb=soil, polygons=tuple(shape), layer=CLEARING)]
    without = _variant(
        plan, patches=[*patches, *lots], things=[t for t in plan.things if not any(t is g for g in gone)]
    )
    return without, _variant(plan, patches=patches), Edit(label, "objects", True)


def _centre(thing: Thing) -> tuple[float, float]:
    x1, y1, x2, y2 = thing.bounds()
    return (x1 + x2) / 2, (y1 + y2) / 2


def _extent(thing: Thing) -> np.ndarray:
    x1, y1, x2, y2 = thing.bounds()
    return np.array([x2 - x1, y2 - y1])


def _edit_road(plan: Plan) -> tuple[Plan, Plan, Edit] | None:
    """Lay a further road over open ground."""
    rng = plan.rng
    ground = (*OPEN_GROUND, "pavement", "forest floor", "asphalt", "track", "marking")
    width_m = max(rng.uniform(5, 9), 4 * plan.gsd_m)
    for _ in range(16):
        line = across(plan, 0.05)
        if not plan.is_unbuilt([strip_of(line, plan.px(width_m) * 1.6)], ground):
            continue
        with_road = _variant(plan)
        lay_road(with_road, line, width_m, tag="new road", cover="asphalt" if rng.random() < 0.7 else "track")
        return _variant(plan), with_road, Edit("road", "road", True)
    return None


def _clear_trees(plan: Plan) -> tuple[Plan, Plan, Edit] | None:
    """Fell the trees in an irregular area and leave bare soil."""
    rng = plan.rng
    trees = [thing for thing in plan.things if thing.tag == "tree"]
    if len(trees) < 8:
        return None
    for _ in range(8):
        centre = np.array(_centre(trees[int(rng.integers(len(trees)))]))
        outline = blob(rng, rng.uniform(24, 62), 0.4) + np.clip(centre, 20, SIZE_PX - 20)
        area = _filled(outline)
        felled = [thing for thing in trees if _touches(thing, area)]
        others = [thing for thing in plan.things if thing.tag != "tree"]
        if len(felled) < 4 or any(_touches(thing, area) for thing in others):
            continue
        soil = Patch(
            cover="soil",
            rgb=plan.tone(((164, 136, 106), (184, 156, 124), (148, 118, 90))),
            polygons=(outline,),
            layer=CLEARING,
        )
        bare = _variant(
            plan, patches=[*plan.patches, soil], things=[t for t in plan.things if not any(t is f for f in felled)]
        )
        return bare, _variant(plan), Edit("vegetation", "trees", True)
    return None


def _grow_water(plan: Plan) -> tuple[Plan, Plan, Edit] | None:
    """Let a lake rise, or a river, where nothing stands in the way."""
    rng = plan.rng
    wet = [patch for patch in plan.patches if patch.tag in ("lake", "river")]
    if not wet or any(thing.label == "bridge" for thing in plan.things):
        return None
    grow = float(rng.uniform(1.2, 1.5))
    centre = wet[0].polygons[0].mean(axis=0) if wet[0].polygons else np.zeros(2)
    higher = {
        id(patch): replace(
            patch,
            polygons=tuple(centre + (polygon - centre) * grow for polygon in patch.polygons),
            lines=tuple((line, width * grow * 1.3) for line, width in patch.lines),
        )
        for patch in wet
    }
    picture = Image.new("1", (SIZE_PX, SIZE_PX))
    pen = ImageDraw.Draw(picture)
    for patch in higher.values():
        for polygon in patch.polygons:
            pen.polygon(polygon.ravel().tolist(), fill=1)
        for line, width in patch.lines:
            pen.line(line.ravel().tolist(), fill=1, width=int(width) + 1)
    if any(_touches(thing, np.asarray(picture)) for thing in plan.things if thing.label != "ship"):
        return None
    with_more = _variant(plan, patches=[higher.get(id(patch), patch) for patch in plan.patches])
    return _variant(plan), with_more, Edit("water", "water", True)


def _filled(outline: np.ndarray) -> np.ndarray:
    picture = Image.new("1", (SIZE_PX, SIZE_PX))
    ImageDraw.Draw(picture).polygon(outline.ravel().tolist(), fill=1)
    return np.asarray(picture)


def _touches(thing: Thing, area: np.ndarray) -> bool:
    """Say whether a corner or the middle of a thing lies in an area, ``(256, 256)`` bool."""
    points = np.concatenate([*thing.footprint, [_centre(thing)]]).astype(int)
    inside = points[((points >= 0) & (points < SIZE_PX)).all(axis=1)]
    return bool(area[inside[:, 1], inside[:, 0]].any())

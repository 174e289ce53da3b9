"""Pieces that several sites share: terrain, roads with traffic, trees, water, houses along a street."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from train.data.scenes import things
from train.data.scenes.palette import CROWNS
from train.data.scenes.plan import (
    MARKS,
    SIZE_PX,
    SURFACE,
    TERRAIN,
    WATER,
    Plan,
    Point,
    blob,
    curve,
    disc,
    rectangle,
    turned,
)

LIVING = ("grass", "lawn", "scrub", "crop")
OPEN_GROUND = (*LIVING, "soil", "sand", "gravel", "ploughed")
CAR_MAX_GSD_M = 0.65
"""Coarser than this a car is shorter than seven pixels and is not drawn."""


def everywhere() -> np.ndarray:
    """Return a polygon that covers the image with room to spare."""
    return rectangle(SIZE_PX * 1.1, SIZE_PX * 1.1, SIZE_PX / 2, SIZE_PX / 2)


def lay_terrain(plan: Plan, cover: str) -> None:
    """Cover the ground, with a few irregular stains of a second tone of the same cover."""
    plan.paint(cover, polygons=(everywhere(),), layer=TERRAIN)
    for _ in range(int(plan.rng.integers(2, 7))):
        outline = blob(plan.rng, plan.rng.uniform(15, 70), 0.5) + plan.rng.uniform(0, SIZE_PX, 2)
        plan.paint(cover, polygons=(outline,), layer=TERRAIN)


def across(plan: Plan, bend: float, *, angle: float | None = None, through: Point | None = None) -> np.ndarray:
    """Return a line from outside the image to outside, through a point near the middle, ``(n, 2)`` px."""
    rng = plan.rng
    angle = rng.uniform(0, 2 * np.pi) if angle is None else angle
    middle = np.asarray(rng.uniform(60, SIZE_PX - 60, 2) if through is None else through, float)
    reach = np.array([np.cos(angle), np.sin(angle)]) * SIZE_PX * 1.45
    return curve(rng, middle - reach, middle + reach, bend, 41)


def along(line: np.ndarray, step_px: float, offset_px: float = 0.0) -> list[tuple[np.ndarray, float]]:
    """Return points every ``step_px`` along a polyline, moved sideways by ``offset_px``, with their direction."""
    steps = np.diff(line, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    total = np.concatenate([[0.0], np.cumsum(lengths)])
    found = []
    for distance in np.arange(step_px / 2, total[-1], step_px):
        k = min(int(np.searchsorted(total, distance, side="right")) - 1, len(steps) - 1)
        unit = steps[k] / max(lengths[k], 1e-6)
        point = line[k] + unit * (distance - total[k]) + np.array([-unit[1], unit[0]]) * offset_px
        if (point > -10).all() and (point < SIZE_PX + 10).all():
            found.append((point, float(np.arctan2(unit[1], unit[0]))))
    return found


def lay_road(plan: Plan, line: np.ndarray, width_m: float, *, tag: str = "road", cover: str = "asphalt") -> None:
    """Paint a road with its verge or pavement and, where they can be seen, its markings; keep it clear."""
    width = plan.px(width_m)
    if cover == "asphalt" and plan.rng.random() < 0.6:
        plan.paint("pavement", lines=((line, width + plan.px(3.5)),), layer=SURFACE, tag=tag)
    plan.paint(cover, lines=((line, width),), layer=SURFACE, tag=tag)
    if cover == "asphalt" and plan.gsd_m <= 0.6:
        dash = plan.px(3)
        ends = [(p - _unit(a) * dash / 2, p + _unit(a) * dash / 2) for p, a in along(line, plan.px(9))]
        thin = max(plan.px(0.18), 0.34)
        dashes = tuple((np.array(pair), thin) for pair in ends)
        edges = tuple((np.array([p for p, _ in along(line, 6, side * width * 0.44)]), thin) for side in (-1, 1))
        plan.paint("marking", lines=dashes + tuple(e for e in edges if len(e[0]) > 1), layer=MARKS, tag=tag)
    half = width / 2 + plan.px(2)
    for a, b in pairwise(line):
        if max(*np.minimum(a, b)) < SIZE_PX + 20 and min(*np.maximum(a, b)) > -20:
            side = np.array([-(b - a)[1], (b - a)[0]]) / max(float(np.linalg.norm(b - a)), 1e-6) * half
            plan.keep_clear([np.array([a + side, b + side, b - side, a - side])])


def _unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def drive_cars(plan: Plan, line: np.ndarray, width_m: float, density: float, *, host: str = "road") -> None:
    """Put vehicles on both lanes; they stand on the road's own ground, so the clear strip does not hinder them."""
    if plan.gsd_m > CAR_MAX_GSD_M:
        return
    rng = plan.rng
    for side in (-1, 1):
        for point, angle in along(line, plan.px(11), side * plan.px(width_m) / 4):
            if rng.random() > density:
                continue
            spot, heading = point + rng.normal(0, plan.px(0.2), 2), angle + (np.pi if side < 0 else 0.0)
            make = things.truck if rng.random() < 0.08 else things.car
            plan.park(make(plan, spot, heading, host=host), least_px=6)


def scatter_trees(
    plan: Plan, n: int, on: Sequence[str] = LIVING, *, radius_m: tuple[float, float] = (1.8, 4.5)
) -> None:
    """Plant single trees, none smaller than five pixels."""
    for _ in range(n):
        radius = max(plan.rng.uniform(*radius_m), 2.9 * plan.gsd_m)
        plan.place(things.tree(plan, plan.rng.uniform(0, SIZE_PX, 2), radius), on, gap_px=1.0)


def grow_forest(plan: Plan, outline: np.ndarray) -> None:
    """Fill an outline with crowns that nobody counts."""
    rng = plan.rng
    radius_m = max(rng.uniform(3.0, 4.5), 3.6 * plan.gsd_m)
    plan.paint("forest floor", polygons=(outline,), layer=TERRAIN, tag="forest")
    step = plan.px(radius_m) * 1.55
    tones = [plan.tone(CROWNS) for _ in range(6)]
    low, high = np.maximum(outline.min(axis=0), -4), np.minimum(outline.max(axis=0), SIZE_PX + 4)
    for y in np.arange(low[1], high[1], step):
        for x in np.arange(low[0], high[0], step):
            centre = np.array([x, y]) + rng.uniform(-0.4, 0.4, 2) * step
            crown = things.tree(
                plan, centre, radius_m * rng.uniform(0.75, 1.2), label=None, tone=tones[int(rng.integers(6))]
            )
            plan.grow(crown, ("forest floor",))


def fill_lake(plan: Plan, outline: np.ndarray) -> None:
    """Paint a water body with its shore and shallows."""
    shore = str(plan.rng.choice(["sand", "soil", "gravel"]))
    plan.paint(shore, polygons=(_grown(outline, plan.px(5)),), layer=WATER, tag="lake")
    deep = plan.paint("water", polygons=(outline,), layer=WATER, tag="lake")
    bright = tuple(int(min(255, v * 1.22 + 8)) for v in deep.rgb)
    plan.paint("water", polygons=(outline,), rgb=bright, layer=WATER, tag="lake")
    middle = _grown(outline, -plan.px(6))
    plan.paint("water", polygons=(middle,), rgb=deep.rgb, rows=ripples(plan), layer=WATER, tag="lake")


def ripples(plan: Plan) -> tuple[float, float, float]:
    """Draw the row texture of a water surface."""
    return (float(plan.rng.uniform(0, np.pi)), float(plan.rng.uniform(4, 11)), float(plan.rng.uniform(0.0, 0.035)))


def _grown(outline: np.ndarray, by_px: float) -> np.ndarray:
    """Move an outline outwards from its centroid by about this much."""
    centre = outline.mean(axis=0)
    radius = np.linalg.norm(outline - centre, axis=1, keepdims=True)
    return centre + (outline - centre) * np.maximum(1 + by_px / np.maximum(radius, 1e-6), 0.05)


def run_river(plan: Plan, width_m: float) -> np.ndarray:
    """Paint a river across the image and return its centre line."""
    line = across(plan, 0.22)
    width = plan.px(width_m)
    plan.paint(
        str(plan.rng.choice(["sand", "soil", "grass"])), lines=((line, width + plan.px(9)),), layer=WATER, tag="river"
    )
    deep = plan.paint("water", lines=((line, width),), layer=WATER, tag="river", rows=ripples(plan))
    bright = tuple(int(min(255, v * 1.12 + 4)) for v in deep.rgb)
    plan.paint("water", lines=((line, width),), rgb=bright, layer=WATER, tag="river")
    plan.paint("water", lines=((line, width * 0.75),), rgb=deep.rgb, layer=WATER, tag="river", rows=ripples(plan))
    return line


def line_with_houses(plan: Plan, line: np.ndarray, width_m: float, share: float, *, garden: bool = True) -> None:
    """Build houses on both sides of a street, with drives, pools and garden trees."""
    rng = plan.rng
    step_m, depth_m = rng.uniform(17, 28), rng.uniform(9, 16)
    flat = rng.random() < 0.25
    for side in (-1, 1):
        offset_m = width_m / 2 + 5 + depth_m / 2
        for point, angle in along(line, plan.px(step_m), side * plan.px(offset_m)):
            if rng.random() > share:
                continue
            size = (step_m * rng.uniform(0.5, 0.72), depth_m * rng.uniform(0.6, 0.85))
            house = things.building(
                plan, point, angle + rng.normal(0, 0.03), size, flat=flat, height_m=rng.uniform(4, 8)
            )
            if not plan.place(house, OPEN_GROUND, gap_px=1.5):
                continue
            outward = np.array([-np.sin(angle), np.cos(angle)]) * side
            if rng.random() < 0.5:
                start = point - outward * plan.px(depth_m * 0.3) + _unit(angle) * plan.px(size[0] * 0.3)
                end = start - outward * plan.px(offset_m - width_m / 2 - depth_m * 0.3)
                plan.paint("pavement", lines=((np.array([start, end]), plan.px(3)),), layer=SURFACE, tag="drive")
            if garden and rng.random() < 0.22 and plan.gsd_m <= 0.8:
                spot = point + outward * plan.px(depth_m * 0.5 + rng.uniform(5, 9))
                pool = things.swimming_pool(plan, spot, angle, (rng.uniform(6, 10), rng.uniform(3.5, 5)))
                plan.place(pool, OPEN_GROUND, gap_px=1.5)


def paved_yard(
    plan: Plan, centre: Point, angle: float, size_m: tuple[float, float], cover: str = "pavement"
) -> np.ndarray:
    """Paint a paved rectangle and return its corners."""
    corners = turned(rectangle(plan.px(size_m[0]), plan.px(size_m[1])), centre, angle)
    plan.paint(cover, polygons=(corners,), layer=SURFACE)
    return corners


def park_cars(plan: Plan, centre: Point, angle: float, size_m: tuple[float, float], occupied: float) -> None:
    """Lay out a car park with bays in double rows and fill a share of them."""
    rng = plan.rng
    length, width = size_m
    paved_yard(plan, centre, angle, (length + 4, width + 4), "car park")
    lines, cars = [], []
    thin = max(plan.px(0.14), 0.34)
    y = -width / 2 + 2.5
    while y < width / 2 - 2:
        for x in np.arange(-length / 2, length / 2 - 2.4, 2.6):
            ends = turned(np.array([(x, y - 2.5), (x, y + 2.5)]) / plan.gsd_m, centre, angle)
            lines.append((ends, thin))
            if rng.random() < occupied:
                spot = turned(np.array([(x + 1.3, y)]) / plan.gsd_m, centre, angle)[0]
                cars.append((spot, angle + np.pi / 2 + (np.pi if rng.random() < 0.5 else 0) + rng.normal(0, 0.03)))
        y += 5.1 if round((y + width / 2 - 2.5) / 5.1) % 3 == 0 else 11.5
    if plan.gsd_m <= 0.45:
        plan.paint("paint", lines=tuple(lines), rgb=(216, 216, 210), layer=MARKS)
    if plan.gsd_m <= CAR_MAX_GSD_M:
        for spot, heading in cars:
            plan.park(things.car(plan, spot, heading, host="car park"), least_px=6)


def roundabout(plan: Plan, centre: np.ndarray, radius_m: float, width_m: float) -> None:
    """Paint a ring of road with a green island."""
    radius, width = plan.px(radius_m), plan.px(width_m)
    plan.paint("asphalt", polygons=(disc(radius + width / 2, 40) + centre,), layer=MARKS, tag="road")
    plan.paint("lawn", polygons=(disc(radius - width / 2, 36) + centre,), layer=MARKS, tag="road")
    plan.keep_clear([disc(radius + width / 2, 24) + centre])


def say(plan: Plan, *settings: str, needs: tuple[str, ...] = ()) -> None:
    """Name the setting; without any object of ``needs`` nobody could tell it from open land."""
    told = not needs or any(thing.label in needs for thing in plan.things)
    plan.setting = settings[int(plan.rng.integers(len(settings)))] if told else "open land"


def somewhere(plan: Plan, margin_px: float = 20) -> np.ndarray:
    """Draw a point of the image."""
    return plan.rng.uniform(margin_px, SIZE_PX - margin_px, 2)


def strip_of(line: np.ndarray, width: float) -> np.ndarray:
    """Return the polygon of a line of this width."""
    steps = np.gradient(line, axis=0)
    normal = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    side = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6) * width / 2
    return np.concatenate([line + side, (line - side)[::-1]])

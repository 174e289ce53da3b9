"""What stands on the ground: each function draws one thing at a centre, an angle and a true size.

Sizes in metres become pixels through ``Plan.px``; local coordinates have x along the thing.
"""

import numpy as np

from train.data.scenes.palette import CARS, CROWNS, HULLS, RGB, ROOFS, toned
from train.data.scenes.plan import Part, Plan, Point, Thing, disc, rectangle, turned


def building(
    plan: Plan, centre: Point, angle: float, size_m: tuple[float, float], *, flat: bool, height_m: float
) -> Thing:
    """A rectangular or L-shaped building with a flat or a gabled roof."""
    rng = plan.rng
    length, width = (plan.px(v) for v in size_m)
    roof = plan.tone((ROOFS[int(rng.integers(len(ROOFS)))],))
    wings = [(rectangle(length, width), 0.0)]
    if rng.random() < 0.35:
        wing_length, wing_width = length * rng.uniform(0.35, 0.5), width * rng.uniform(1.5, 2.0)
        dx, dy = (length - wing_length) / 2 * rng.choice([-1, 1]), (wing_width - width) / 2 * rng.choice([-1, 1])
        wings.append((rectangle(wing_width, wing_length) @ np.array([[0, 1], [-1, 0]]) + (dx, dy), np.pi / 2))
    parts: list[Part] = []
    for corners, turn in wings:
        polygon = turned(corners, centre, angle)
        faces = _flat_roof(plan, polygon, roof) if flat else _gable(polygon, roof, angle + turn)
        parts += faces
    footprint = tuple(turned(corners, centre, angle) for corners, _ in wings)
    return Thing(
        label="building",
        footprint=footprint,
        parts=tuple(parts),
        height_px=plan.px(height_m),
        mask="building",
        tag="building",
    )


def _gable(polygon: np.ndarray, roof: RGB, angle: float) -> list[Part]:
    """Two faces that meet in a ridge along the longer side."""
    a, b, c, d = polygon
    left, right = (a + d) / 2, (b + c) / 2
    upper, lower = np.array([a, b, right, left]), np.array([left, right, c, d])
    ridge = np.array([left, right, right + (c - b) * 0.03, left + (c - b) * 0.03])
    return [Part(upper, roof, angle - np.pi / 2), Part(lower, roof, angle + np.pi / 2), Part(ridge, toned(roof, 1.15))]


def _flat_roof(plan: Plan, polygon: np.ndarray, roof: RGB) -> list[Part]:
    """A level roof with a parapet and some plant on it."""
    rng = plan.rng
    centre = polygon.mean(axis=0)
    span = float(np.linalg.norm(polygon[1] - polygon[0]))
    rim = min(0.12, plan.px(0.8) / max(span, 1.0))
    parts = [Part(polygon, toned(roof, 1.12)), Part(centre + (polygon - centre) * (1 - 2 * rim), roof)]
    for _ in range(int(rng.integers(0, 5))):
        u, v = rng.uniform(0.15, 0.8, size=2)
        corner = polygon[0] + (polygon[1] - polygon[0]) * u + (polygon[3] - polygon[0]) * v
        along, across = (
            (polygon[1] - polygon[0]) / span,
            (polygon[3] - polygon[0]) / max(np.linalg.norm(polygon[3] - polygon[0]), 1),
        )
        box = [
            corner,
            corner + along * plan.px(2.5),
            corner + along * plan.px(2.5) + across * plan.px(2),
            corner + across * plan.px(2),
        ]
        parts.append(Part(np.array(box), toned(roof, float(rng.choice([0.72, 0.85, 1.25])))))
    return parts


def tree(plan: Plan, centre: Point, radius_m: float, *, label: str | None = "tree", tone: RGB | None = None) -> Thing:
    """A crown seen from above: a ragged disc, darker away from the sun."""
    rng = plan.rng
    radius = plan.px(radius_m)
    n = 10 if radius < 8 else 18
    t = np.arange(n) * (2 * np.pi / n) + rng.uniform(0, 1)
    rim = np.stack([np.cos(t), np.sin(t)], axis=1) * (radius * rng.uniform(0.78, 1.08, size=(n, 1)))
    outline = rim + np.asarray(centre, float)
    rgb = tone or plan.tone(CROWNS)
    parts = [
        Part(outline, toned(rgb, 0.72)),
        Part(rim * 0.74 + np.asarray(centre, float), rgb, lift=radius * 0.16),
        Part(rim[::-1] * -0.42 + np.asarray(centre, float), toned(rgb, 1.22), lift=radius * 0.3),
    ]
    for _ in range(int(min(12, radius / 2)) if radius > 5 else 0):
        spot = rng.normal(0, 0.42, size=2) * radius + centre
        parts.append(Part(disc(radius * 0.16, 6) + spot, toned(rgb, float(rng.uniform(0.7, 1.35)))))
    return Thing(
        label=label,
        footprint=(outline,),
        parts=tuple(parts),
        height_px=plan.px(radius_m * 1.3),
        mask="vegetation",
        tag="tree",
    )


def car(plan: Plan, centre: Point, angle: float, *, host: str = "") -> Thing:
    """A passenger car, 4.3 to 4.9 m long."""
    rng = plan.rng
    length, width = plan.px(rng.uniform(4.3, 4.9)), plan.px(rng.uniform(1.8, 2.0))
    paint = plan.tone((CARS[int(rng.integers(len(CARS)))],))
    x, y = length / 2, width / 2
    body = np.array(
        [
            (-x, -y * 0.8),
            (-x * 0.86, -y),
            (x * 0.8, -y),
            (x, -y * 0.7),
            (x, y * 0.7),
            (x * 0.8, y),
            (-x * 0.86, y),
            (-x, y * 0.8),
        ]
    )
    glass = toned((48, 54, 62), 1.0)
    local = [
        (body, paint),
        (rectangle(length * 0.52, width * 0.84, -length * 0.06), glass),
        (rectangle(length * 0.30, width * 0.80, -length * 0.07), toned(paint, 1.08)),
    ]
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(label="car", footprint=(parts[0].polygon,), parts=parts, height_px=plan.px(1.4), tag=f"car:{host}")


def truck(plan: Plan, centre: Point, angle: float, *, host: str = "") -> Thing:
    """A lorry: cab and box, 8 to 14 m long."""
    rng = plan.rng
    length, width = plan.px(rng.uniform(8, 14)), plan.px(2.5)
    box = plan.tone((CARS[int(rng.integers(4))], (226, 226, 222)))
    local = [
        (rectangle(length, width), (70, 72, 76)),
        (rectangle(length * 0.74, width, -length * 0.13), box),
        (rectangle(length * 0.17, width * 0.94, length * 0.405), plan.tone(CARS)),
    ]
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(label="truck", footprint=(parts[0].polygon,), parts=parts, height_px=plan.px(3.2), tag=f"car:{host}")


def airplane(plan: Plan, centre: Point, angle: float, length_m: float) -> Thing:
    """An aircraft on the ground, nose along +x."""
    rng = plan.rng
    length = plan.px(length_m)
    span, body = length * rng.uniform(0.88, 1.02), length * rng.uniform(0.1, 0.125)
    sweep, root = length * rng.uniform(0.12, 0.24), length * rng.uniform(0.14, 0.2)
    paint = plan.tone(((232, 232, 230), (214, 216, 220), (196, 200, 206), (240, 240, 238)))
    x, y = length / 2, body / 2
    t = np.linspace(-np.pi / 2, np.pi / 2, 9)
    nose = np.stack([x - body * 1.1 + body * 1.1 * np.cos(t), y * np.sin(t)], axis=1)
    fuselage = np.concatenate([nose, [(-x * 0.55, y), (-x, y * 0.25), (-x, -y * 0.25), (-x * 0.55, -y)]])
    at = length * rng.uniform(-0.02, 0.08)
    wing = np.array(
        [
            (at + root / 2, 0),
            (at - sweep + root * 0.1, span / 2),
            (at - sweep - root * 0.25, span / 2),
            (at - root / 2, y),
        ]
    )
    tail = np.array([(-x * 0.72, 0), (-x * 0.93, span * 0.18), (-x * 1.0, span * 0.18), (-x * 0.92, 0)])
    mirror = np.array([1, -1])
    surfaces = [wing, wing * mirror, tail, tail * mirror]
    engines = []
    for share in (0.28, 0.62)[: 2 if length_m > 50 else 1]:
        for side in (-1, 1):
            engines.append(
                rectangle(length * 0.085, body * 0.42, at + root * 0.35 - sweep * share, side * span / 2 * share)
            )
    outline = [*surfaces, *engines, fuselage]
    spine = rectangle(length * 0.86, body * 0.28, -length * 0.02)
    fin = rectangle(length * 0.14, body * 0.14, -length * 0.42)
    tail_paint = plan.tone(((60, 80, 140), (170, 50, 46), (200, 204, 208), (70, 120, 110)))
    painted = [(p, toned(paint, 0.93)) for p in surfaces] + [(p, toned(paint, 0.72)) for p in engines]
    painted += [(fuselage, paint), (spine, toned(paint, 1.06)), (fin, tail_paint)]
    return Thing(
        label="airplane",
        footprint=tuple(turned(p, centre, angle) for p in outline),
        parts=tuple(Part(turned(p, centre, angle), rgb) for p, rgb in painted),
        height_px=plan.px(length_m * 0.1),
        mask="",
        tag="airplane",
    )


def ship(plan: Plan, centre: Point, angle: float, length_m: float) -> Thing:
    """A vessel, bow along +x: an open boat when short, a cargo ship when long."""
    rng = plan.rng
    length = plan.px(length_m)
    width = length * rng.uniform(0.16, 0.2) if length_m > 40 else length * rng.uniform(0.26, 0.34)
    x, y = length / 2, width / 2
    hull = np.array(
        [
            (-x, -y * 0.8),
            (-x * 0.9, -y),
            (x * 0.55, -y),
            (x * 0.85, -y * 0.5),
            (x, 0),
            (x * 0.85, y * 0.5),
            (x * 0.55, y),
            (-x * 0.9, y),
            (-x, y * 0.8),
        ]
    )
    paint = (
        plan.tone((HULLS[int(rng.integers(len(HULLS)))],))
        if length_m > 40
        else plan.tone(((232, 232, 228), (214, 216, 216)))
    )
    local: list[tuple[np.ndarray, RGB]] = [(hull, paint), (hull * 0.86, toned(paint, 0.85 if length_m > 40 else 0.94))]
    if length_m > 40:
        local.append((rectangle(length * 0.13, width * 0.84, -x * 0.74), (230, 230, 226)))
        cargo = ((150, 70, 50), (60, 90, 130), (170, 150, 90), (96, 110, 100), (186, 186, 182))
        for k in range(int(rng.integers(3, 7))):
            local.append((rectangle(length * 0.1, width * 0.74, -x * 0.46 + k * length * 0.125), plan.tone(cargo)))
    else:
        local.append(
            (
                rectangle(length * 0.3, width * 0.55, -x * 0.25),
                plan.tone(((90, 96, 104), (186, 160, 120), (120, 150, 170))),
            )
        )
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(
        label="ship",
        footprint=(parts[0].polygon,),
        parts=parts,
        height_px=plan.px(length_m * 0.06),
        mask="",
        tag="ship",
    )


def storage_tank(plan: Plan, centre: Point, radius_m: float, rgb: RGB) -> Thing:
    """A cylindrical tank with a rim; the roof lies below the rim, so its sunward side is in shadow."""
    radius = plan.px(radius_m)
    at = np.asarray(centre, float)
    sunk = plan.rng.random() < 0.5
    parts = [
        Part(disc(radius, 28) + at, toned(rgb, 1.06)),
        Part(disc(radius * 0.92, 28) + at, toned(rgb, 0.66 if sunk else 0.95)),
    ]
    parts.append(Part(disc(radius * 0.8, 24) + at, toned(rgb, 0.98), lift=-radius * 0.1 if sunk else radius * 0.06))
    for dx, dy in plan.rng.uniform(-0.4, 0.4, size=(2, 2)):
        parts.append(Part(disc(max(radius * 0.07, 0.5), 6) + at + (dx * radius, dy * radius), toned(rgb, 0.75)))
    return Thing(
        label="storage tank",
        footprint=(parts[0].polygon,),
        parts=tuple(parts),
        height_px=plan.px(11),
        mask="",
        tag="storage tank",
    )


def swimming_pool(plan: Plan, centre: Point, angle: float, size_m: tuple[float, float]) -> Thing:
    """A garden pool with its coping."""
    length, width = (plan.px(v) for v in size_m)
    rounded = plan.rng.random() < 0.4
    shape = disc(0.5, 20) * (length, width) if rounded else rectangle(length, width)
    water = plan.tone(((86, 178, 196), (70, 160, 190), (110, 190, 200)))
    rim = 1 - 2 * plan.px(0.5) / width
    local = [
        (shape, (206, 200, 188)),
        (shape * rim, water),
        (shape * (rim * 0.7) + (length * 0.05, 0), toned(water, 0.93)),
    ]
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(label="swimming pool", footprint=(parts[0].polygon,), parts=parts, mask="water", tag="swimming pool")


def solar_array(plan: Plan, centre: Point, angle: float, size_m: tuple[float, float]) -> Thing:
    """One table of solar modules: dark rows with the grid of module edges."""
    length, width = (plan.px(v) for v in size_m)
    blue = plan.tone(((38, 50, 84), (50, 60, 92), (34, 40, 62), (60, 72, 104)))
    local = [(rectangle(length, width), toned(blue, 1.5))]
    columns, rows = max(1, round(size_m[0] / 4)), max(1, round(size_m[1] / 2))
    for i in range(columns):
        for j in range(rows):
            dx, dy = (i + 0.5) * length / columns - length / 2, (j + 0.5) * width / rows - width / 2
            local.append((rectangle(length / columns * 0.92, width / rows * 0.88, dx, dy), blue))
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(
        label="solar panel",
        footprint=(parts[0].polygon,),
        parts=parts,
        height_px=plan.px(1.5),
        mask="",
        tag="solar panel",
    )


def bridge(plan: Plan, centre: Point, angle: float, size_m: tuple[float, float]) -> Thing:
    """A road bridge along +x with its parapets."""
    length, width = (plan.px(v) for v in size_m)
    deck = plan.tone(((150, 148, 144), (176, 172, 164), (130, 130, 132)))
    local = [
        (rectangle(length, width), toned(deck, 1.25)),
        (rectangle(length, width * 0.8), deck),
        (rectangle(length, max(width * 0.03, 0.4)), toned(deck, 1.35)),
    ]
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(
        label="bridge", footprint=(parts[0].polygon,), parts=parts, height_px=plan.px(7), mask="road", tag="bridge"
    )


def harbor(plan: Plan, centre: Point, angle: float, length_m: float, n_fingers: int) -> Thing:
    """A jetty along +x with fingers on both sides."""
    length, width = plan.px(length_m), max(plan.px(4), 2.5)
    reach = plan.px(16)
    deck = plan.tone(((186, 178, 164), (164, 156, 146), (150, 130, 108)))
    local = [rectangle(length, width)]
    for k in range(n_fingers):
        dx = -length / 2 + (k + 0.7) * length / n_fingers
        local.append(rectangle(max(plan.px(2), 1.2), 2 * reach, dx))
    polygons = tuple(turned(points, centre, angle) for points in local)
    parts = tuple(Part(polygon, deck) for polygon in (*polygons[1:], polygons[0]))
    return Thing(label="harbor", footprint=polygons, parts=parts, height_px=plan.px(1.5), mask="", tag="harbor")

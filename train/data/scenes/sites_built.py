"""Places that people built: suburbs, city blocks, industry, airfields, car parks, junctions."""

import numpy as np

from train.data.scenes import things
from train.data.scenes.elements import (
    LIVING,
    across,
    along,
    drive_cars,
    lay_road,
    lay_terrain,
    line_with_houses,
    park_cars,
    roundabout,
    say,
    scatter_trees,
    somewhere,
    strip_of,
)
from train.data.scenes.plan import (
    CLEARING,
    MARKS,
    SIZE_PX,
    SURFACE,
    Plan,
    rectangle,
    turned,
)


def suburb(plan: Plan) -> None:
    """Parallel residential streets with gardens."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["lawn", "grass", "soil", "grass"])))
    angle, spacing = rng.uniform(0, np.pi), plan.px(rng.uniform(62, 80))
    normal = np.array([-np.sin(angle), np.cos(angle)])
    middle = somewhere(plan, 90)
    bend = rng.choice([0.0, 0.05])
    offsets = [k for k in range(-4, 5) if abs(k) * spacing < 190]
    width = rng.uniform(6, 8)
    lines = [across(plan, bend, angle=angle, through=middle + normal * spacing * k) for k in offsets]
    if rng.random() < 0.6:
        cross = across(plan, 0.0, angle=angle + np.pi / 2, through=middle)
        lay_road(plan, cross, width, tag="road")
    for line in lines:
        lay_road(plan, line, width, tag="road")
    share = rng.uniform(0.25, 0.9)
    for line in lines:
        line_with_houses(plan, line, width, share)
        drive_cars(plan, line, width, rng.uniform(0.03, 0.2))
    scatter_trees(plan, int(rng.integers(10, 60)))
    plan.crossing = []
    say(plan, "a residential area", "a suburb", "a housing area", "a neighbourhood", needs=("building",))


def city(plan: Plan) -> None:
    """Blocks of large flat roofs between a grid of streets."""
    rng = plan.rng
    lay_terrain(plan, "pavement")
    angle, spacing, width = rng.uniform(0, np.pi), plan.px(rng.uniform(70, 110)), rng.uniform(9, 14)
    middle = somewhere(plan, 90)
    axes = [np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])]
    reach = int(200 / spacing) + 1
    lines = []
    for k in range(-reach, reach + 1):
        lines.append(across(plan, 0.0, angle=angle, through=middle + axes[1] * spacing * k))
        lines.append(across(plan, 0.0, angle=angle + np.pi / 2, through=middle + axes[0] * spacing * 1.2 * k))
    for line in lines:
        lay_road(plan, line, width)
    for line in lines[:10]:
        drive_cars(plan, line, width, rng.uniform(0.05, 0.35))
    for i in range(-reach, reach):
        for j in range(-reach, reach):
            block = middle + axes[0] * spacing * 1.2 * (i + 0.5) + axes[1] * spacing * (j + 0.5)
            _fill_block(plan, block, angle, (spacing * 1.2 - plan.px(width + 8), spacing - plan.px(width + 8)))
    scatter_trees(plan, int(rng.integers(5, 40)), ("pavement", *LIVING), radius_m=(2, 4))
    say(plan, "a city district", "a dense urban area", "a commercial area", needs=("building",))


def _fill_block(plan: Plan, centre: np.ndarray, angle: float, size_px: tuple[float, float]) -> None:
    rng = plan.rng
    if not (centre.min() > -60 and centre.max() < SIZE_PX + 60):
        return
    if rng.random() < 0.12:
        plan.paint("lawn", polygons=(turned(rectangle(*size_px), centre, angle),), layer=SURFACE)
        return
    n_x, n_y = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    for i in range(n_x):
        for j in range(n_y):
            cell = np.array([size_px[0] / n_x, size_px[1] / n_y])
            spot = turned(
                [((i + 0.5) * cell[0] - size_px[0] / 2, (j + 0.5) * cell[1] - size_px[1] / 2)], centre, angle
            )[0]
            size = cell * rng.uniform(0.6, 0.92, 2) * plan.gsd_m
            if rng.random() < 0.92 and size.min() > max(6 * plan.gsd_m, 7):
                roof = things.building(
                    plan,
                    spot,
                    angle,
                    (float(size[0]), float(size[1])),
                    flat=rng.random() < 0.8,
                    height_m=rng.uniform(8, 28),
                )
                plan.place(roof, gap_px=1.5)


def industry(plan: Plan) -> None:
    """Large halls on paved ground, storage tanks, lorries."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["pavement", "gravel", "soil", "grass"])))
    road = across(plan, 0.0)
    lay_road(plan, road, 8)
    plan.crossing.append("a road")
    angle = float(np.arctan2(*(road[1] - road[0])[::-1]))
    if rng.random() < 0.75:
        _tank_farm(plan, angle)
    for _ in range(int(rng.integers(0, 9))):
        size = (rng.uniform(25, 70), rng.uniform(16, 38))
        hall = things.building(
            plan,
            somewhere(plan),
            angle + rng.choice([0, np.pi / 2]),
            size,
            flat=rng.random() < 0.6,
            height_m=rng.uniform(7, 13),
        )
        plan.place(hall, gap_px=plan.px(4))
    drive_cars(plan, road, 8, 0.12)
    if plan.gsd_m < 0.6:
        for _ in range(int(rng.integers(0, 8))):
            make = things.truck if rng.random() < 0.6 else things.car
            plan.place(
                make(plan, somewhere(plan), angle + rng.choice([0, np.pi / 2]), host="yard"),
                ("pavement", "gravel", "soil"),
                gap_px=2,
                least_px=6,
            )
    say(plan, "an industrial area", "an industrial site", "a factory site", needs=("building", "storage tank"))


def _tank_farm(plan: Plan, angle: float) -> None:
    rng = plan.rng
    radius_m = max(rng.uniform(6, 26), 4 * plan.gsd_m)
    n_x, n_y = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    pitch, centre = plan.px(radius_m) * rng.uniform(2.4, 3.2), somewhere(plan, 60)
    yard = turned(rectangle(pitch * (n_x + 0.3), pitch * (n_y + 0.3)), centre, angle)
    if plan.is_free([yard]):
        plan.paint(str(rng.choice(["gravel", "pavement", "soil"])), polygons=(yard,), layer=CLEARING)
    rgb = plan.tone(((228, 228, 224), (206, 204, 196), (176, 180, 182), (196, 184, 160)))
    for i in range(n_x):
        for j in range(n_y):
            spot = turned([((i - (n_x - 1) / 2) * pitch, (j - (n_y - 1) / 2) * pitch)], centre, angle)[0]
            if rng.random() < 0.88:
                plan.place(
                    things.storage_tank(plan, spot, radius_m * rng.choice([1.0, 1.0, 0.7]), rgb), gap_px=1.5, least_px=6
                )


def airfield(plan: Plan) -> None:
    """An apron with parked aircraft, a taxiway or runway, a terminal."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "soil", "grass"])))
    angle = rng.uniform(0, 2 * np.pi)
    inward = np.array([np.cos(angle), np.sin(angle)])
    centre = np.array([SIZE_PX / 2, SIZE_PX / 2])
    length_m = rng.uniform(14, 62)
    while not 14 <= plan.px(length_m) <= 95:
        length_m = rng.uniform(10, 80)
    apron = turned(rectangle(380, rng.uniform(120, 240)), centre + inward * rng.uniform(-10, 40), angle + np.pi / 2)
    plan.paint(str(rng.choice(["apron", "apron", "runway"])), polygons=(apron,), layer=SURFACE)
    runway = rng.random() < 0.55
    if runway:
        line = across(plan, 0.0, angle=angle + np.pi / 2, through=centre - inward * rng.uniform(75, 105))
        plan.paint("runway", lines=((line, max(plan.px(rng.uniform(25, 45)), 10)),), layer=SURFACE)
        dashes = tuple(
            (np.array([p - np.diff([p, q], axis=0)[0] * 0.2, p]), 1.0)
            for (p, _), (q, _) in zip(along(line, 16)[:-1], along(line, 16)[1:], strict=True)
        )
        plan.paint("paint", lines=dashes, layer=MARKS, rgb=(222, 222, 216))
        plan.keep_clear([strip_of(line, 24)])
    taxi = across(plan, 0.0, angle=angle + np.pi / 2, through=centre - inward * rng.uniform(10, 30))
    plan.paint("paint", lines=((taxi, max(plan.px(0.4), 0.5)),), rgb=(206, 178, 84), layer=MARKS)
    if rng.random() < 0.6:
        size = (rng.uniform(60, 160), rng.uniform(22, 45))
        terminal = things.building(
            plan, centre + inward * rng.uniform(85, 110), angle + np.pi / 2, size, flat=True, height_m=12
        )
        plan.place(terminal, gap_px=2)
    pitch = plan.px(length_m) * rng.uniform(1.1, 1.6)
    nose = angle + rng.choice([0.0, np.pi, 0.5])
    side = np.array([-inward[1], inward[0]])
    share = rng.uniform(0.3, 0.95)
    for row in (0.0, -1.15):
        for k in np.arange(-4, 5):
            spot = centre + inward * (rng.normal(0, 2) + 25 + row * plan.px(length_m)) + side * pitch * k
            if rng.random() < share * (1.0 if row == 0 else 0.4):
                plane = things.airplane(plan, spot, nose + rng.normal(0, 0.06), length_m * rng.uniform(0.8, 1.1))
                plan.place(plane, ("apron", "runway", "paint"), gap_px=1.5, least_px=10)
    say(plan, "an airport", "an airport apron", "an airfield", needs=("airplane",))


def shopping(plan: Plan) -> None:
    """A store with its car park."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["lawn", "grass", "pavement"])))
    angle = rng.uniform(0, np.pi)
    centre = somewhere(plan, 95)
    size = (rng.uniform(0.45, 0.85) * SIZE_PX * plan.gsd_m, rng.uniform(0.3, 0.6) * SIZE_PX * plan.gsd_m)
    park_cars(plan, centre, angle, size, rng.uniform(0.05, 0.9))
    yard = turned(rectangle(plan.px(size[0]) + 4, plan.px(size[1]) + 4), centre, angle)
    plan.keep_clear([yard])
    normal = np.array([-np.sin(angle), np.cos(angle)])
    store_m = (size[0] * rng.uniform(0.6, 0.95), rng.uniform(18, 40))
    spot = centre + normal * plan.px(size[1] / 2 + store_m[1] / 2 + 6) * rng.choice([-1, 1])
    plan.place(things.building(plan, spot, angle, store_m, flat=True, height_m=8), gap_px=1)
    scatter_trees(plan, int(rng.integers(0, 25)))
    say(plan, "a parking lot", "a parking area")


def junction(plan: Plan) -> None:
    """Roads that meet, in a roundabout or a crossing, with traffic."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "lawn", "soil", "pavement"])))
    centre, width = somewhere(plan, 90), rng.uniform(8, 14)
    first = rng.uniform(0, np.pi)
    lines = [across(plan, 0.0, angle=a, through=centre) for a in (first, first + np.pi / 2 + rng.normal(0, 0.15))]
    for line in lines:
        lay_road(plan, line, width)
    ring = rng.random() < 0.5
    if ring:
        roundabout(plan, centre, rng.uniform(14, 26), width)
    for line in lines:
        keep = [p for p in line if not ring or np.linalg.norm(p - centre) > plan.px(34)]
        for half in (keep[: len(keep) // 2], keep[len(keep) // 2 :]):
            if len(half) > 2:
                drive_cars(plan, np.array(half), width, rng.uniform(0.05, 0.5))
        line_with_houses(plan, line, width + 4, rng.uniform(0, 0.4), garden=False)
    scatter_trees(plan, int(rng.integers(5, 50)), (*LIVING, "soil"))
    say(plan, *(("a roundabout",) if ring else ("a crossroads", "a road junction")))

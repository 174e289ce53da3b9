"""Kinds of places: each function fills a plan; `SITES` gives the ground sampling distances at which it makes sense."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from train.data.scenes import things
from train.data.scenes.elements import (
    LIVING,
    OPEN_GROUND,
    across,
    along,
    drive_cars,
    fill_lake,
    grow_forest,
    lay_road,
    lay_terrain,
    line_with_houses,
    park_cars,
    ripples,
    roundabout,
    run_river,
    scatter_trees,
)
from train.data.scenes.plan import (
    CLEARING,
    MARKS,
    SIZE_PX,
    SURFACE,
    TERRAIN,
    WATER,
    Plan,
    Thing,
    blob,
    rectangle,
    turned,
)


def _say(plan: Plan, *settings: str, needs: tuple[str, ...] = ()) -> None:
    """Name the setting; without any object of ``needs`` nobody could tell it from open land."""
    told = not needs or any(thing.label in needs for thing in plan.things)
    plan.setting = settings[int(plan.rng.integers(len(settings)))] if told else "open land"


def _somewhere(plan: Plan, margin_px: float = 20) -> np.ndarray:
    return plan.rng.uniform(margin_px, SIZE_PX - margin_px, 2)


def suburb(plan: Plan) -> None:
    """Parallel residential streets with gardens."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["lawn", "grass", "soil", "grass"])))
    angle, spacing = rng.uniform(0, np.pi), plan.px(rng.uniform(62, 80))
    normal = np.array([-np.sin(angle), np.cos(angle)])
    middle = _somewhere(plan, 90)
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
    _say(plan, "a residential area", "a suburb", "a housing area", "a neighbourhood", needs=("building",))


def farmland(plan: Plan) -> None:
    """Parcels of crops and ploughed land, a track, perhaps a river, a farmstead."""
    rng = plan.rng
    lay_terrain(plan, "grass")
    _parcels(plan)
    if rng.random() < 0.4:
        run_river(plan, max(rng.uniform(10, 30), 8 * plan.gsd_m))
        plan.crossing.append("a river")
        plan.keep_clear(plan.patches[-1].polygons or [_strip(*plan.patches[-1].lines[0])])
    if rng.random() < 0.75:
        line = across(plan, 0.04)
        paved = rng.random() < 0.55
        lay_road(
            plan, line, max(rng.uniform(5, 8), 3.5 * plan.gsd_m), tag="road", cover="asphalt" if paved else "track"
        )
        plan.crossing.append("a road" if paved else "a dirt road")
        drive_cars(plan, line, 6, 0.04)
    for _ in range(int(rng.integers(0, 3))):
        _farmstead(plan)
    if rng.random() < 0.5:
        scatter_trees(plan, int(rng.integers(5, 40)), radius_m=(2.5, 5))
    _say(plan, "farmland", "agricultural fields", "cropland")


def _strip(line: np.ndarray, width: float) -> np.ndarray:
    """Return the polygon of a line of this width."""
    steps = np.gradient(line, axis=0)
    side = (
        np.stack([-steps[:, 1], steps[:, 0]], axis=1)
        / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-6)
        * width
        / 2
    )
    return np.concatenate([line + side, (line - side)[::-1]])


def _parcels(plan: Plan) -> None:
    rng = plan.rng
    angle, centre = rng.uniform(0, np.pi), np.array([SIZE_PX / 2, SIZE_PX / 2])
    boxes, least = [(-190.0, -190.0, 190.0, 190.0)], plan.px(rng.uniform(60, 110))
    parcels: list[tuple[float, float, float, float]] = []
    while boxes:
        x1, y1, x2, y2 = boxes.pop()
        long_x = x2 - x1 > y2 - y1
        side = max(x2 - x1, y2 - y1)
        if side < least or (side < 2.5 * least and rng.random() < 0.3) or len(parcels) + len(boxes) > 90:
            parcels.append((x1, y1, x2, y2))
            continue
        cut = rng.uniform(0.3, 0.7)
        if long_x:
            x = x1 + (x2 - x1) * cut
            boxes += [(x1, y1, x, y2), (x, y1, x2, y2)]
        else:
            y = y1 + (y2 - y1) * cut
            boxes += [(x1, y1, x2, y), (x1, y, x2, y2)]
    margin = plan.px(1.2)
    for x1, y1, x2, y2 in parcels:
        corners = (
            np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) + np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * margin
        )
        polygon = turned(corners + rng.normal(0, margin, (4, 2)), centre, angle)
        if polygon.max() < 0 or (polygon.min(axis=0) > SIZE_PX).any() or (polygon.max(axis=0) < 0).any():
            continue
        cover = str(rng.choice(["crop", "crop", "crop", "ploughed", "ploughed", "grass"]))
        period = max(plan.px(rng.choice([0.8, 3.0, 6.0])), 2.6)
        turn = angle + (np.pi / 2 if x2 - x1 > y2 - y1 else 0.0)
        rows = (turn, float(period), float(rng.uniform(0.0, 0.07))) if cover != "grass" else None
        plan.paint(cover, polygons=(polygon,), rows=rows, layer=TERRAIN)


def _farmstead(plan: Plan) -> None:
    rng = plan.rng
    centre, angle = _somewhere(plan, 30), rng.uniform(0, np.pi)
    size = (rng.uniform(40, 60), rng.uniform(40, 60))
    corners = turned(rectangle(plan.px(size[0]), plan.px(size[1])), centre, angle)
    if not plan.is_free([corners], OPEN_GROUND):
        return
    plan.paint(str(rng.choice(["gravel", "soil", "lawn"])), polygons=(corners,), layer=CLEARING)
    for _ in range(int(rng.integers(1, 5))):
        spot = turned([rng.uniform(-0.3, 0.3, 2) * plan.px(size[0])], centre, angle)[0]
        turn = angle + rng.choice([0, np.pi / 2])
        barn = (max(rng.uniform(12, 34), 8 * plan.gsd_m), max(rng.uniform(8, 14), 5.5 * plan.gsd_m))
        plan.place(
            things.building(plan, spot, turn, barn, flat=False, height_m=rng.uniform(5, 9)), OPEN_GROUND, gap_px=2
        )


def forest(plan: Plan) -> None:
    """Closed forest with a clearing, perhaps a road and a hut."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "scrub"])))
    if rng.random() < 0.5:
        line = across(plan, 0.12)
        paved = rng.random() < 0.5
        lay_road(plan, line, max(rng.uniform(5, 8), 3.5 * plan.gsd_m), cover="asphalt" if paved else "track")
        plan.crossing.append("a road" if paved else "a dirt road")
    if rng.random() < 0.3:
        outline = blob(rng, rng.uniform(25, 55), 0.4) + _somewhere(plan, 50)
        fill_lake(plan, outline)
        plan.keep_clear([outline])
        _say(plan, "a forest with a lake", "woodland around a lake")
    else:
        _say(plan, "a forest", "woodland", "dense trees")
    for _ in range(int(rng.integers(0, 3))):
        size = (max(rng.uniform(9, 16), 7 * plan.gsd_m), max(rng.uniform(7, 10), 5.5 * plan.gsd_m))
        plan.place(
            things.building(plan, _somewhere(plan, 40), rng.uniform(0, np.pi), size, flat=False, height_m=5),
            OPEN_GROUND,
            gap_px=8,
        )
    for _ in range(int(rng.integers(1, 4))):
        grow_forest(plan, blob(rng, rng.uniform(60, 150), 0.45, 60) + _somewhere(plan, 20))


def city(plan: Plan) -> None:
    """Blocks of large flat roofs between a grid of streets."""
    rng = plan.rng
    lay_terrain(plan, "pavement")
    angle, spacing, width = rng.uniform(0, np.pi), plan.px(rng.uniform(70, 110)), rng.uniform(9, 14)
    middle = _somewhere(plan, 90)
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
    _say(plan, "a city district", "a dense urban area", "a commercial area", needs=("building",))


def _fill_block(plan: Plan, centre: np.ndarray, angle: float, size_px: tuple[float, float]) -> None:
    rng = plan.rng
    if not (centre.min() > -60 and centre.max() < SIZE_PX + 60):
        return
    if rng.random() < 0.15:
        plan.paint("lawn", polygons=(turned(rectangle(*size_px), centre, angle),), layer=SURFACE)
        return
    n_x, n_y = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    for i in range(n_x):
        for j in range(n_y):
            cell = np.array([size_px[0] / n_x, size_px[1] / n_y])
            spot = turned(
                [((i + 0.5) * cell[0] - size_px[0] / 2, (j + 0.5) * cell[1] - size_px[1] / 2)], centre, angle
            )[0]
            size = cell * rng.uniform(0.6, 0.92, 2) * plan.gsd_m
            if rng.random() < 0.85 and size.min() > 6 * plan.gsd_m:
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
            _somewhere(plan),
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
                make(plan, _somewhere(plan), angle + rng.choice([0, np.pi / 2]), host="yard"),
                ("pavement", "gravel", "soil"),
                gap_px=2,
                least_px=6,
            )
    _say(plan, "an industrial area", "an industrial site", "a factory site", needs=("building", "storage tank"))


def _tank_farm(plan: Plan, angle: float) -> None:
    rng = plan.rng
    radius_m = max(rng.uniform(6, 26), 4 * plan.gsd_m)
    n_x, n_y = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    pitch, centre = plan.px(radius_m) * rng.uniform(2.4, 3.2), _somewhere(plan, 60)
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
        plan.keep_clear([_strip(line, 24)])
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
    _say(plan, "an airport", "an airport apron", "an airfield", needs=("airplane",))


def waterfront(plan: Plan) -> None:
    """A coast or a lake with vessels and jetties."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "soil", "pavement", "scrub"])))
    angle = rng.uniform(0, 2 * np.pi)
    seaward = np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([SIZE_PX / 2, SIZE_PX / 2]) + seaward * rng.uniform(-70, 50)
    straight = rng.random() < 0.45
    shore = across(plan, 0.0 if straight else 0.12, angle=angle + np.pi / 2, through=middle)
    if not straight:
        shore = shore + np.cumsum(rng.normal(0, 1.6, shore.shape), axis=0)
    sea = np.concatenate([shore, [shore[-1] + seaward * 600, shore[0] + seaward * 600]])
    for depth, cover in ((-plan.px(8), str(rng.choice(["sand", "sand", "gravel"]))), (0.0, "water")):
        if not straight or cover == "water":
            plan.paint(cover, polygons=(sea + seaward * depth,), layer=WATER, tag="sea")
    if straight:
        plan.paint("pavement", lines=((shore, plan.px(6)),), layer=SURFACE)
    shallow = plan.patches[-1 if not straight else -2].rgb
    deep = tuple(int(v * 0.82) for v in shallow)
    plan.paint("water", polygons=(sea + seaward * plan.px(9),), rgb=deep, rows=ripples(plan), layer=WATER, tag="sea")
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 4))):
            at = shore[int(rng.integers(12, 28))]
            length_m = rng.uniform(35, 110)
            pier = things.harbor(
                plan, at + seaward * plan.px(length_m) * 0.48, angle, length_m, int(rng.integers(2, 6))
            )
            plan.place(pier, gap_px=3, least_px=16)
    _sail(plan)
    town = across(plan, 0.03, angle=angle + np.pi / 2, through=middle - seaward * plan.px(rng.uniform(28, 50)))
    lay_road(plan, town, 7)
    drive_cars(plan, town, 7, 0.08)
    line_with_houses(plan, town, 7, rng.uniform(0, 0.8))
    scatter_trees(plan, int(rng.integers(0, 30)))
    _say(plan, "a coast", "a shore", "a waterfront")


def _sail(plan: Plan) -> None:
    rng = plan.rng
    for _ in range(int(rng.integers(0, 15))):
        big = rng.random() < (0.25 if plan.gsd_m < 0.5 else 0.6)
        length_m = max(rng.uniform(45, 160) if big else rng.uniform(7, 24), 7 * plan.gsd_m)
        if plan.px(length_m) > 150:
            continue
        spot, heading = _somewhere(plan, 5), rng.uniform(0, 2 * np.pi)
        vessel = things.ship(plan, spot, heading, length_m)
        if plan.place(vessel, ("water", "wake"), gap_px=3, least_px=7) and rng.random() < 0.35:
            _wake(plan, spot, heading, plan.px(length_m))


def _wake(plan: Plan, spot: np.ndarray, heading: float, length: float) -> None:
    """Paint the foam behind a moving vessel, on the water alone."""
    reach = length * plan.rng.uniform(1.0, 2.5)
    local = np.array(
        [
            (-length * 0.4, -length * 0.05),
            (-length * 0.4, length * 0.05),
            (-reach, length * 0.22),
            (-reach * 0.9, 0),
            (-reach, -length * 0.22),
        ]
    )
    foam = turned(local, spot, heading)
    if plan.is_free([foam[2:]], ("water", "wake")):
        plan.paint("wake", polygons=(foam,), layer=WATER, tag="wake")


def river_town(plan: Plan) -> None:
    """A river with a bridge and houses on both banks."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "lawn", "soil", "scrub"])))
    width_m = float(np.clip(rng.uniform(25, 110), 12 * plan.gsd_m, 110 * plan.gsd_m))
    river = run_river(plan, width_m)
    middle = river[20]
    angle = float(np.arctan2(*(river[21] - river[19])[::-1])) + np.pi / 2 + rng.normal(0, 0.1)
    road_m = max(rng.uniform(8, 14), 5 * plan.gsd_m)
    road = across(plan, 0.0, angle=angle, through=middle)
    lay_road(plan, road, road_m)
    plan.crossing.append("a river")
    crossing = things.bridge(plan, middle, angle, (width_m * 1.12 + 8, road_m * 1.25))
    plan.park(crossing, least_px=10)
    drive_cars(plan, road, road_m, 0.12)
    line_with_houses(plan, road, road_m, rng.uniform(0, 0.8), garden=False)
    if plan.gsd_m < 1.2:
        _sail(plan)
    scatter_trees(plan, int(rng.integers(0, 60)))
    _say(plan, "a village", "a settlement", needs=("building",))


def sports_park(plan: Plan) -> None:
    """Courts, pitches and tracks on grass."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "lawn", "lawn"])))
    angle = rng.uniform(0, np.pi)
    if plan.gsd_m >= 0.55 and rng.random() < 0.5:
        plan.place(
            things.ground_track_field(plan, _somewhere(plan, 75), angle, rng.uniform(125, 178)),
            LIVING,
            gap_px=3,
            least_px=30,
        )
    for _ in range(int(rng.integers(0, 4))):
        spot = _somewhere(plan, 30)
        field = things.baseball_diamond(plan, spot, rng.uniform(0, 2 * np.pi), rng.uniform(18, 28))
        if plan.place(field, LIVING, gap_px=3, least_px=16):
            plan.paint("lawn", polygons=(blob(rng, plan.px(62), 0.08) + spot,), layer=TERRAIN)
    for make, size in ((things.tennis_court, (37, 20)), (things.basketball_court, (34, 21))):
        if rng.random() < 0.65 and plan.px(16) > 12:
            _court_rows(plan, make, size, angle + rng.choice([0, np.pi / 2]))
    for _ in range(int(rng.integers(0, 3))):
        hall = things.building(
            plan, _somewhere(plan), angle, (rng.uniform(15, 40), rng.uniform(10, 24)), flat=True, height_m=7
        )
        plan.place(hall, LIVING, gap_px=4)
    scatter_trees(plan, int(rng.integers(5, 50)))
    grounds = ("tennis court", "basketball court", "baseball diamond", "ground track field")
    _say(plan, "a sports park", "a sports ground", "a recreation area", needs=grounds)


def _court_rows(plan: Plan, make: Callable[..., Thing], size_m: tuple[float, float], angle: float) -> None:
    rng = plan.rng
    n_x, n_y, corner = int(rng.integers(1, 3)), int(rng.integers(1, 5)), _somewhere(plan, 35)
    for i in range(n_x):
        for j in range(n_y):
            spot = turned([(plan.px(size_m[0]) * i, plan.px(size_m[1]) * j)], corner, angle)[0]
            plan.place(make(plan, spot, angle), LIVING, gap_px=1, least_px=12)


def shopping(plan: Plan) -> None:
    """A store with its car park."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["lawn", "grass", "pavement"])))
    angle = rng.uniform(0, np.pi)
    centre = _somewhere(plan, 95)
    size = (rng.uniform(0.45, 0.85) * SIZE_PX * plan.gsd_m, rng.uniform(0.3, 0.6) * SIZE_PX * plan.gsd_m)
    park_cars(plan, centre, angle, size, rng.uniform(0.05, 0.9))
    yard = turned(rectangle(plan.px(size[0]) + 4, plan.px(size[1]) + 4), centre, angle)
    plan.keep_clear([yard])
    normal = np.array([-np.sin(angle), np.cos(angle)])
    store_m = (size[0] * rng.uniform(0.6, 0.95), rng.uniform(18, 40))
    spot = centre + normal * plan.px(size[1] / 2 + store_m[1] / 2 + 6) * rng.choice([-1, 1])
    plan.place(things.building(plan, spot, angle, store_m, flat=True, height_m=8), gap_px=1)
    scatter_trees(plan, int(rng.integers(0, 25)))
    _say(plan, "a car park", "a parking lot")


def solar_farm(plan: Plan) -> None:
    """Rows of solar tables on open ground."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "soil", "gravel", "scrub"])))
    angle, centre = rng.uniform(0, np.pi), _somewhere(plan, 90)
    if rng.random() < 0.6:
        line = across(
            plan,
            0.05,
            angle=angle,
            through=centre + np.array([-np.sin(angle), np.cos(angle)]) * rng.choice([-1, 1]) * 100,
        )
        lay_road(plan, line, 6, cover=str(rng.choice(["asphalt", "track"])))
    size = (max(rng.uniform(12, 40), 12 * plan.gsd_m), max(rng.uniform(4, 8), 5 * plan.gsd_m))
    n_x, n_y = int(rng.integers(1, 4)), int(rng.integers(1, 9))
    for i in range(n_x):
        for j in range(n_y):
            local = ((i - (n_x - 1) / 2) * plan.px(size[0] + 4), (j - (n_y - 1) / 2) * plan.px(size[1] * 1.9))
            if rng.random() < 0.93:
                plan.place(
                    things.solar_array(plan, turned([local], centre, angle)[0], angle, size),
                    OPEN_GROUND,
                    gap_px=1,
                    least_px=8,
                )
    for _ in range(int(rng.integers(0, 4))):
        size_m = (max(rng.uniform(10, 25), 8 * plan.gsd_m), max(rng.uniform(8, 12), 6 * plan.gsd_m))
        plan.place(
            things.building(plan, _somewhere(plan), angle, size_m, flat=False, height_m=6), OPEN_GROUND, gap_px=4
        )
    scatter_trees(plan, int(rng.integers(0, 30)))
    _say(plan, "open land", "a solar farm", needs=("solar panel",))


def desert(plan: Plan) -> None:
    """Bare land, now and then a track or a few houses."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["sand", "soil", "scrub"])))
    for _ in range(int(rng.integers(0, 5))):
        plan.paint(
            str(rng.choice(["scrub", "soil", "gravel"])),
            polygons=(blob(rng, rng.uniform(8, 45), 0.6) + _somewhere(plan, 0),),
        )
    if rng.random() < 0.6:
        lay_road(plan, across(plan, 0.08), max(5, 3.5 * plan.gsd_m), cover=str(rng.choice(["track", "asphalt"])))
        plan.crossing.append("a road" if plan.patches[-1].cover in ("asphalt", "marking") else "a dirt road")
    for _ in range(int(rng.integers(0, 7))):
        size = (max(rng.uniform(8, 18), 7 * plan.gsd_m), max(rng.uniform(7, 12), 5.5 * plan.gsd_m))
        plan.place(
            things.building(plan, _somewhere(plan), rng.uniform(0, np.pi), size, flat=True, height_m=4),
            OPEN_GROUND,
            gap_px=3,
        )
    scatter_trees(plan, int(rng.integers(0, 15)), OPEN_GROUND)
    _say(plan, "bare land", "barren ground", "dry open land")


def meadow_with_lake(plan: Plan) -> None:
    """Grassland with a lake, small boats, a few houses and trees."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "grass", "scrub", "soil"])))
    lake = blob(rng, rng.uniform(35, 75), 0.35) + _somewhere(plan, 70)
    fill_lake(plan, lake)
    if plan.gsd_m < 0.9:
        _sail(plan)
    if rng.random() < 0.6:
        lay_road(
            plan, across(plan, 0.1, through=lake.mean(axis=0) + rng.choice([-1, 1], 2) * 95), max(6, 3.5 * plan.gsd_m)
        )
    for _ in range(int(rng.integers(0, 9))):
        size = (max(rng.uniform(9, 18), 7 * plan.gsd_m), max(rng.uniform(7, 11), 5.5 * plan.gsd_m))
        plan.place(
            things.building(plan, _somewhere(plan), rng.uniform(0, np.pi), size, flat=False, height_m=5),
            (*LIVING, "soil"),
            gap_px=4,
        )
    scatter_trees(plan, int(rng.integers(5, 60)))
    _say(plan, "open land around a lake", "land with a lake")


def junction(plan: Plan) -> None:
    """Roads that meet, in a roundabout or a crossing, with traffic."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "lawn", "soil", "pavement"])))
    centre, width = _somewhere(plan, 90), rng.uniform(8, 14)
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
    _say(plan, *(("a roundabout",) if ring else ("a crossroads", "a road junction")))


@dataclass(frozen=True, slots=True)
class Site:
    """A kind of place: how it is filled, at which metres a pixel, and how often it is drawn."""

    fill: Callable[[Plan], None]
    gsd_m: tuple[float, float]
    weight: float


SITES = (
    Site(suburb, (0.22, 1.1), 3.0),
    Site(farmland, (0.5, 2.0), 1.6),
    Site(forest, (0.3, 1.5), 0.8),
    Site(city, (0.3, 1.0), 1.6),
    Site(industry, (0.35, 1.5), 1.6),
    Site(airfield, (0.35, 2.0), 1.8),
    Site(waterfront, (0.3, 1.6), 1.8),
    Site(river_town, (0.4, 1.8), 1.2),
    Site(sports_park, (0.3, 1.3), 2.0),
    Site(shopping, (0.2, 0.45), 1.2),
    Site(solar_farm, (0.25, 1.0), 0.8),
    Site(desert, (0.3, 1.5), 0.7),
    Site(meadow_with_lake, (0.4, 1.8), 1.2),
    Site(junction, (0.22, 0.65), 1.0),
)


def make_plan(rng: np.random.Generator) -> Plan:
    """Draw a kind of place and fill it."""
    weights = np.array([site.weight for site in SITES])
    site = SITES[int(rng.choice(len(SITES), p=weights / weights.sum()))]
    low, high = np.log(site.gsd_m)
    plan = Plan(rng=rng, gsd_m=round(float(np.exp(rng.uniform(low, high))), 2))
    site.fill(plan)
    return plan

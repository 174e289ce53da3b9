"""Open country: farmland, forest, sports grounds, solar farms, bare land."""

from collections.abc import Callable

import numpy as np

from train.data.scenes import sports, things
from train.data.scenes.elements import (
    LIVING,
    OPEN_GROUND,
    across,
    drive_cars,
    fill_lake,
    grow_forest,
    lay_road,
    lay_terrain,
    run_river,
    say,
    scatter_trees,
    somewhere,
    strip_of,
)
from train.data.scenes.plan import (
    CLEARING,
    SIZE_PX,
    TERRAIN,
    Plan,
    Thing,
    blob,
    rectangle,
    turned,
)


def farmland(plan: Plan) -> None:
    """Parcels of crops and ploughed land, a track, perhaps a river, a farmstead."""
    rng = plan.rng
    lay_terrain(plan, "grass")
    _parcels(plan)
    if rng.random() < 0.4:
        width_m = max(rng.uniform(10, 30), 8 * plan.gsd_m)
        plan.keep_clear([strip_of(run_river(plan, width_m), plan.px(width_m))])
        plan.crossing.append("a river")
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
    say(plan, "farmland", "agricultural fields", "cropland")


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
    centre, angle = somewhere(plan, 30), rng.uniform(0, np.pi)
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
        outline = blob(rng, rng.uniform(25, 55), 0.4) + somewhere(plan, 50)
        fill_lake(plan, outline)
        plan.keep_clear([outline])
        say(plan, "a forest with a lake", "woodland around a lake")
    else:
        say(plan, "a forest", "woodland", "dense trees")
    for _ in range(int(rng.integers(0, 3))):
        size = (max(rng.uniform(9, 16), 7 * plan.gsd_m), max(rng.uniform(7, 10), 5.5 * plan.gsd_m))
        plan.place(
            things.building(plan, somewhere(plan, 40), rng.uniform(0, np.pi), size, flat=False, height_m=5),
            OPEN_GROUND,
            gap_px=8,
        )
    for _ in range(int(rng.integers(1, 4))):
        grow_forest(plan, blob(rng, rng.uniform(60, 150), 0.45, 60) + somewhere(plan, 20))


def sports_park(plan: Plan) -> None:
    """Courts, pitches and tracks on grass."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "lawn", "lawn"])))
    angle = rng.uniform(0, np.pi)
    if plan.gsd_m >= 0.55 and rng.random() < 0.5:
        plan.place(
            sports.ground_track_field(plan, somewhere(plan, 75), angle, rng.uniform(125, 178)),
            LIVING,
            gap_px=3,
            least_px=30,
        )
    for _ in range(int(rng.integers(0, 4))):
        spot = somewhere(plan, 30)
        field = sports.baseball_diamond(plan, spot, rng.uniform(0, 2 * np.pi), rng.uniform(18, 28))
        if plan.place(field, LIVING, gap_px=3, least_px=16):
            plan.paint("lawn", polygons=(blob(rng, plan.px(62), 0.08) + spot,), layer=TERRAIN)
    for make, size in ((sports.tennis_court, (37, 20)), (sports.basketball_court, (34, 21))):
        if rng.random() < 0.65 and plan.px(16) > 12:
            _court_rows(plan, make, size, angle + rng.choice([0, np.pi / 2]))
    for _ in range(int(rng.integers(0, 3))):
        hall = things.building(
            plan, somewhere(plan), angle, (rng.uniform(15, 40), rng.uniform(10, 24)), flat=True, height_m=7
        )
        plan.place(hall, LIVING, gap_px=4)
    scatter_trees(plan, int(rng.integers(5, 50)))
    grounds = ("tennis court", "basketball court", "baseball diamond", "ground track field")
    say(plan, "a sports park", "a sports ground", "a recreation area", needs=grounds)


def _court_rows(plan: Plan, make: Callable[..., Thing], size_m: tuple[float, float], angle: float) -> None:
    rng = plan.rng
    n_x, n_y, corner = int(rng.integers(1, 3)), int(rng.integers(1, 5)), somewhere(plan, 35)
    for i in range(n_x):
        for j in range(n_y):
            spot = turned([(plan.px(size_m[0]) * i, plan.px(size_m[1]) * j)], corner, angle)[0]
            plan.place(make(plan, spot, angle), LIVING, gap_px=1, least_px=12)


def solar_farm(plan: Plan) -> None:
    """Rows of solar tables on open ground."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "soil", "gravel", "scrub"])))
    angle, centre = rng.uniform(0, np.pi), somewhere(plan, 90)
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
        plan.place(things.building(plan, somewhere(plan), angle, size_m, flat=False, height_m=6), OPEN_GROUND, gap_px=4)
    scatter_trees(plan, int(rng.integers(0, 30)))
    say(plan, "open land", "a solar farm", needs=("solar panel",))


def desert(plan: Plan) -> None:
    """Bare land, now and then a track or a few houses."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["sand", "soil", "scrub"])))
    for _ in range(int(rng.integers(0, 5))):
        plan.paint(
            str(rng.choice(["scrub", "soil", "gravel"])),
            polygons=(blob(rng, rng.uniform(8, 45), 0.6) + somewhere(plan, 0),),
        )
    if rng.random() < 0.6:
        lay_road(plan, across(plan, 0.08), max(5, 3.5 * plan.gsd_m), cover=str(rng.choice(["track", "asphalt"])))
        plan.crossing.append("a road" if plan.patches[-1].cover in ("asphalt", "marking") else "a dirt road")
    for _ in range(int(rng.integers(0, 7))):
        size = (max(rng.uniform(8, 18), 7 * plan.gsd_m), max(rng.uniform(7, 12), 5.5 * plan.gsd_m))
        plan.place(
            things.building(plan, somewhere(plan), rng.uniform(0, np.pi), size, flat=True, height_m=4),
            OPEN_GROUND,
            gap_px=3,
        )
    scatter_trees(plan, int(rng.integers(0, 15)), OPEN_GROUND)
    say(plan, "bare land", "barren ground", "dry open land")

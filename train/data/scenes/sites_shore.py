"""Places by the water: coasts, rivers with bridges, lakes."""

import numpy as np

from train.data.scenes import things
from train.data.scenes.elements import (
    LIVING,
    across,
    drive_cars,
    fill_lake,
    lay_road,
    lay_terrain,
    line_with_houses,
    ripples,
    run_river,
    say,
    scatter_trees,
    somewhere,
)
from train.data.scenes.plan import (
    SIZE_PX,
    SURFACE,
    WATER,
    Plan,
    blob,
    turned,
)


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
    say(plan, "a coast", "a shore", "a waterfront")


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
    say(plan, "a village", "a settlement", needs=("building",))


def meadow_with_lake(plan: Plan) -> None:
    """Grassland with a lake, small boats, a few houses and trees."""
    rng = plan.rng
    lay_terrain(plan, str(rng.choice(["grass", "grass", "scrub", "soil"])))
    lake = blob(rng, rng.uniform(35, 75), 0.35) + somewhere(plan, 70)
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
            things.building(plan, somewhere(plan), rng.uniform(0, np.pi), size, flat=False, height_m=5),
            (*LIVING, "soil"),
            gap_px=4,
        )
    scatter_trees(plan, int(rng.integers(5, 60)))
    say(plan, "open land around a lake", "land with a lake")


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


def _sail(plan: Plan) -> None:
    """Put vessels of all sizes on the water, some with a wake."""
    rng = plan.rng
    for _ in range(int(rng.integers(0, 15))):
        big = rng.random() < (0.25 if plan.gsd_m < 0.5 else 0.6)
        length_m = max(rng.uniform(45, 160) if big else rng.uniform(7, 24), 7 * plan.gsd_m)
        if plan.px(length_m) > 150:
            continue
        spot, heading = somewhere(plan, 5), rng.uniform(0, 2 * np.pi)
        vessel = things.ship(plan, spot, heading, length_m)
        if plan.place(vessel, ("water", "wake"), gap_px=3, least_px=7) and rng.random() < 0.35:
            _wake(plan, spot, heading, plan.px(length_m))

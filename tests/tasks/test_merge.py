from dataclasses import replace

import numpy as np
import pytest
import shapely
from shapely import affinity

from rsvlm_cli.results import Box
from rsvlm_cli.tasks.merge import BoxMerger, SeenBox
from rsvlm_cli.tasks.merge import suppress_repeated as suppress
from rsvlm_cli.tasks.quads import hull_of, order_vertices


def box(label, corners, score):
    return Box(label=label, box_px=corners, score=score)


def test_the_best_of_overlapping_boxes_of_one_label_stays_with_its_score():
    kept = suppress([box("ship", (0, 0, 10, 10), 0.6), box("ship", (1, 0, 11, 10), 0.9)], across_labels=True)
    assert kept == [box("ship", (1, 0, 11, 10), 0.9)]


def test_a_part_that_a_window_has_cut_off_goes_and_a_neighbour_stays():
    whole, part, beside = (
        box("ship", (0, 0, 40, 10), 0.9),
        box("ship", (30, 0, 40, 10), 0.8),
        box("ship", (41, 0, 81, 10), 0.7),
    )
    assert suppress([part, whole, beside], across_labels=True) == [whole, beside]


def test_another_label_is_suppressed_only_on_all_but_the_same_box():
    field, track = box("field", (0, 0, 10, 10), 0.9), box("track", (0, 0, 10, 13), 0.5)
    assert suppress([field, track], across_labels=True) == [field, track]
    assert suppress([field, box("track", (0, 0, 10, 11), 0.5)], across_labels=True) == [field]


def test_phrases_may_name_the_same_thing():
    boxes = [box("red roof", (0, 0, 10, 10), 0.9), box("building", (0, 0, 10, 10), 0.5)]
    assert suppress(boxes, across_labels=False) == boxes


def test_nothing_comes_of_nothing():
    assert suppress([], across_labels=True) == []


RASTER = (0, 0, 1000, 1000)
NO_CUT = (False, False, False, False)


def seen(label, corners, score, window):
    return SeenBox.of(box(label, corners, score), window, RASTER)


def merge(*boxes):
    merger = BoxMerger(across_labels=True)
    merger.add(boxes)
    return merger.finish()


def test_a_side_at_its_window_s_edge_may_be_cut_but_not_where_the_raster_ends():
    window = (0, 0, 100, 100)
    assert seen("ship", (0, 10, 100, 20), 0.5, window).cut == (False, False, True, False)
    assert seen("ship", (20, 10, 99, 100), 0.5, window).cut == (False, False, True, True)
    assert seen("ship", (20, 10, 90, 90), 0.5, window).cut == NO_CUT


def test_two_halves_of_a_thing_longer_than_the_overlap_are_joined_and_keep_the_better_score():
    left = seen("bridge", (40, 50, 100, 60), 0.7, (0, 0, 100, 100))
    right = seen("bridge", (75, 49, 140, 60), 0.9, (75, 0, 175, 100))
    assert merge(left, right) == [box("bridge", (40, 49, 140, 60), 0.9)]


def test_four_quarters_are_joined_around_a_corner():
    windows = [(x, y, x + 100, y + 100) for y in (0, 75) for x in (0, 75)]
    parts = [
        seen(
            "field",
            tuple(np.clip((20, 20, 160, 160), (x1, y1, x1, y1), (x2, y2, x2, y2)).tolist()),
            s,
            (x1, y1, x2, y2),
        )
        for (x1, y1, x2, y2), s in zip(windows, (0.3, 0.5, 0.4, 0.2), strict=True)
    ]
    assert merge(*parts) == [box("field", (20, 20, 160, 160), 0.5)]


def test_neighbours_of_which_no_window_cuts_both_are_not_joined():
    window, beside = (0, 0, 100, 100), (75, 0, 175, 100)
    cut, whole = seen("ship", (80, 10, 100, 20), 0.5, window), seen("ship", (95, 10, 120, 20), 0.6, beside)
    other = seen("car", (75, 10, 90, 20), 0.4, beside)
    assert merge(cut, whole, other) == [whole.box, cut.box, other.box]


def test_a_whole_box_stays_before_a_better_scored_part_of_it():
    whole = seen("ship", (60, 40, 120, 60), 0.6, (50, 0, 150, 100))
    part = seen("ship", (60, 40, 100, 60), 0.9, (0, 0, 100, 100))
    assert merge(part, whole) == [whole.box]


def upright(one):
    return one


def diamond(one):
    """Return the turned box between the middles of the sides of an upright one as a window saw it."""
    x1, y1, x2, y2 = one.box.box_px
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return replace(one, box=replace(one.box, quad_px=((x, y1), (x2, y), (x, y2), (x1, y))))


@pytest.mark.parametrize("shape", [upright, diamond])
def test_settling_row_by_row_gives_what_deciding_at_the_end_gives(shape):
    rng = np.random.default_rng(5)
    rows = []
    for top in range(0, 900, 75):
        here = []
        for left in range(0, 900, 75):
            window = (left, top, left + 100, top + 100)
            for x, y, w, h in rng.uniform((0, 0, 4, 4), (90, 90, 70, 70), (6, 4)):
                corners = (left + x, top + y, min(left + x + w, left + 100), min(top + y + h, top + 100))
                here.append(shape(seen(str(rng.choice(["ship", "car"])), corners, float(rng.random()), window)))
        rows.append((top, here))
    stepwise, at_once = (BoxMerger(across_labels=True) for _ in range(2))
    most = 0
    for top, here in rows:
        stepwise.settle(top)
        most = max(most, len(stepwise._open))
        stepwise.add(here)
        at_once.add(here)
    assert 0 < most < sum(len(here) for _, here in rows)
    assert stepwise.finish() == at_once.finish()


# --- turned boxes -----------------------------------------------------------------------------------------------------


def turned(label, middle, sides, angle_deg, score):
    """Return a box of a width and height around a middle, turned clockwise on screen."""
    rectangle = affinity.rotate(shapely.box(-sides[0] / 2, -sides[1] / 2, sides[0] / 2, sides[1] / 2), angle_deg)
    return of_ring(label, shapely.get_coordinates(affinity.translate(rectangle, *middle))[:4], score)


def of_ring(label, ring, score):
    quad = order_vertices(np.asarray(ring).round(3))
    return Box(label=label, box_px=hull_of(quad), quad_px=quad, score=score)


def turned_seen(whole, window, score):
    """Return what a window sees of a turned thing, as the smallest turned rectangle of it within the window."""
    visible = shapely.Polygon(whole.quad_px).intersection(shapely.box(*window))
    ring = shapely.get_coordinates(visible.minimum_rotated_rectangle)[:4]
    return SeenBox.of(of_ring(whole.label, ring, score), window, RASTER)


def test_ships_side_by_side_at_45_degrees_both_stay_and_their_hulls_would_not():
    ships = [turned("ship", (100 + d, 100 - d), (120, 12), 45, s) for d, s in ((0, 0.9), (10, 0.8))]
    assert suppress(ships, across_labels=True) == ships
    hulls = [replace(ship, quad_px=None) for ship in ships]
    assert suppress(hulls, across_labels=True) == hulls[:1]


@pytest.mark.parametrize("angle", range(-90, 90, 15))
def test_one_thing_seen_twice_at_another_angle_is_one_and_keeps_the_better_score(angle):
    best, again = (turned("ship", (100, 100), (80, 20), angle + d, s) for d, s in ((0, 0.9), (10, 0.8)))
    assert suppress([again, best], across_labels=True) == [best]
    other = replace(again, label="boat")
    assert suppress([other, best], across_labels=True) == [best, other]
    same = turned("boat", (100, 100), (80, 20), angle + 1, 0.8)
    assert suppress([same, best], across_labels=True) == [best]
    assert suppress([same, best], across_labels=False) == [best, same]


def test_a_turned_box_and_an_upright_one_share_what_their_outlines_share():
    ship, around = turned("ship", (100, 100), (120, 12), 45, 0.9), box("ship", (60, 120, 80, 140), 0.5)
    assert suppress([ship, around], across_labels=True) == [ship, around]
    assert suppress([ship, box("ship", (98, 98, 102, 102), 0.5)], across_labels=True) == [ship]


def random_boxes(seed, n=150):
    rng = np.random.default_rng(seed)
    return [
        turned(str(rng.choice(["ship", "car"])), rng.uniform(0, 300, 2), rng.uniform(8, 60, 2), rng.uniform(-90, 90), s)
        for s in rng.permutation(n) / n
    ]


@pytest.mark.parametrize("seed", range(3))
def test_suppression_is_greedy_and_best_first(seed):
    boxes = random_boxes(seed)
    shapes = {id(b): shapely.Polygon(b.quad_px) for b in boxes}

    def repeats(winner, loser):
        p, q = shapes[id(winner)], shapes[id(loser)]
        shared = p.intersection(q).area
        iou, inside = shared / p.union(q).area, shared / min(p.area, q.area)
        return iou > 0.5 or inside > 0.8 if winner.label == loser.label else iou > 0.8

    kept = []
    for one in sorted(boxes, key=lambda b: -b.score):
        if not any(repeats(winner, one) for winner in kept):
            kept.append(one)
    assert len(kept) < len(boxes)
    assert suppress(boxes, across_labels=True) == kept


def test_a_scene_turned_by_a_quarter_gives_the_result_turned():
    def turn(one):
        return of_ring(one.label, [(1000 - y, x) for x, y in one.quad_px], one.score)

    boxes = random_boxes(7)
    kept = suppress(boxes, across_labels=True)
    assert suppress([turn(one) for one in boxes], across_labels=True) == [turn(one) for one in kept]


def test_an_upright_quad_is_merged_as_the_box_that_it_is():
    boxes = [replace(one, quad_px=None) for one in random_boxes(3)]
    quads = [of_ring(one.label, one.outline_px, one.score) for one in boxes]
    kept = suppress(quads, across_labels=True)
    assert [replace(one, quad_px=None) for one in kept] == suppress(boxes, across_labels=True)


@pytest.mark.parametrize("angle", range(-80, 100, 20))
def test_turned_neighbours_cut_at_a_seam_are_joined_each_with_its_own_part(angle):
    windows = [(0, 0, 120, 200), (80, 0, 200, 200)] if abs(angle) < 45 else [(0, 0, 200, 120), (0, 80, 200, 200)]
    ships = [turned("ship", (100 + d, 100 + e), (110, 14), angle, 0.5) for d, e in normals(angle, 20)]
    parts = [turned_seen(ship, window, 0.5 + k / 10) for k, ship in enumerate(ships) for window in windows]
    assert all(any(part.cut) for part in parts)
    found = merge(*parts)
    for ship, one in zip(ships, sorted(found, key=lambda b: b.score), strict=True):
        p, q = shapely.Polygon(ship.quad_px), shapely.Polygon(one.quad_px)
        assert p.intersection(q).area / p.union(q).area > 0.95
        assert one.box_px == hull_of(one.quad_px)
    whole = [SeenBox(replace(ship, score=0.3)) for ship in ships]
    assert merge(*parts[:1], *parts[2:3], *whole) == [seen.box for seen in whole]


def normals(angle_deg, distance):
    angle = np.radians(angle_deg + 90)
    return [(0, 0), (distance * np.cos(angle), distance * np.sin(angle))]

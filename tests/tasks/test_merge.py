import numpy as np

from rsvlm_cli.results import Box
from rsvlm_cli.tasks.merge import BoxMerger, SeenBox
from rsvlm_cli.tasks.merge import suppress_repeated as suppress


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


def test_settling_row_by_row_gives_what_deciding_at_the_end_gives():
    rng = np.random.default_rng(5)
    rows = []
    for top in range(0, 900, 75):
        here = []
        for left in range(0, 900, 75):
            window = (left, top, left + 100, top + 100)
            for x, y, w, h in rng.uniform((0, 0, 4, 4), (90, 90, 70, 70), (6, 4)):
                corners = (left + x, top + y, min(left + x + w, left + 100), min(top + y + h, top + 100))
                here.append(seen(str(rng.choice(["ship", "car"])), corners, float(rng.random()), window))
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

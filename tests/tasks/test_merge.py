import numpy as np
import pytest

from rsvlm_cli.results import Box
from rsvlm_cli.tasks.merge import Mosaic
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


def test_one_window_goes_through_the_mosaic_unchanged():
    p_set = np.random.default_rng(0).random((2, 24, 24), np.float32)
    mosaic = Mosaic(("water", "road"), (100.0, 50.0, 900.0, 650.0), (24, 24))
    mosaic.add((100.0, 50.0, 900.0, 650.0), p_set, np.ones((24, 24), bool))
    mask = mosaic.finish(0.5, "p")
    top = p_set.max(axis=0)
    np.testing.assert_array_equal(mask.cells, np.where(top >= 0.5, p_set.argmax(axis=0) + 1, 0))
    np.testing.assert_allclose(mask.probability, np.where(top >= 0.5, top, 1 - top), atol=1e-6)


def test_windows_that_agree_leave_no_seam():
    y, x = np.mgrid[:60, :60]
    truth = ((x // 12 + y // 12) % 2).astype(np.float32)
    mosaic = Mosaic(("water",), (0.0, 0.0, 600.0, 600.0), (60, 60))
    for top in (0, 180, 360):
        for left in (0, 180, 360):
            part = truth[None, top // 10 : top // 10 + 24, left // 10 : left // 10 + 24]
            mosaic.add((left, top, left + 240.0, top + 240.0), part, np.ones((24, 24), bool))
    np.testing.assert_array_equal(mosaic.finish(0.5, "p").cells, truth)


def test_cells_without_data_and_windows_never_seen_are_no_data():
    valid = np.ones((24, 24), bool)
    valid[:, :6] = False
    mosaic = Mosaic(("water",), (0.0, 0.0, 480.0, 240.0), (24, 48))
    mosaic.add((0.0, 0.0, 240.0, 240.0), np.ones((1, 24, 24), np.float32), valid)
    cells = mosaic.finish(0.5, "p").cells
    assert (cells[:, :6] == 255).all()
    assert (cells[:, 6:24] == 1).all()
    assert (cells[:, 24:] == 255).all()


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_the_threshold_decides(threshold):
    mosaic = Mosaic(("water",), (0.0, 0.0, 24.0, 24.0), (24, 24))
    mosaic.add((0.0, 0.0, 24.0, 24.0), np.full((1, 24, 24), 0.5, np.float32), np.ones((24, 24), bool))
    assert (mosaic.finish(threshold, "p").cells == (threshold < 0.5)).all()

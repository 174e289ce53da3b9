"""The heads' cells and boxes: the inverse of what training rasterises."""

import numpy as np
import pytest
import torch

from rsvlm_cli.tasks.heads import read_boxes, read_count, read_presence, to_cells
from train.heads import to_cells as to_cells_in_training

GRID = 16


def heads_of(boxes):
    """What a perfect head says of boxes given as shares of the picture."""
    p_centre, sides = np.zeros((GRID, GRID), np.float32), np.zeros((4, GRID, GRID), np.float32)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        x, y = (x1 + x2) / 2 * GRID, (y1 + y2) / 2 * GRID
        p_centre[int(y), int(x)] = 0.9 - 0.1 * k
        sides[:, int(y), int(x)] = x % 1, y % 1, np.log2((x2 - x1) * GRID), np.log2((y2 - y1) * GRID)
    return p_centre, sides


def test_boxes_come_back_from_a_perfect_head_best_first():
    boxes = [(0.1, 0.2, 0.35, 0.3), (0.5, 0.5, 0.9, 0.98), (0.71, 0.04, 0.76, 0.1)]
    found = read_boxes("ship", *heads_of(boxes))
    assert [box.score for box in found] == pytest.approx([0.9, 0.8, 0.7])
    np.testing.assert_allclose([box.box_frac for box in found], boxes, atol=1e-6)
    assert {box.label for box in found} == {"ship"}


def test_a_cell_beside_a_likelier_one_speaks_of_nothing():
    p_centre, sides = heads_of([(0.1, 0.2, 0.35, 0.3)])
    row, column = np.argwhere(p_centre == p_centre.max())[0]
    p_centre[row, column + 1] = p_centre[row + 1, column] = 0.5
    assert len(read_boxes("ship", p_centre, sides)) == 1


def test_what_is_less_sure_than_asked_is_left_out():
    assert len(read_boxes("ship", *heads_of([(0.1, 0.2, 0.3, 0.3), (0.5, 0.5, 0.9, 0.9)]), min_score=0.85)) == 1


def test_a_thing_is_there_by_its_most_probable_cell_and_counted_by_its_centres():
    p_centre, _ = heads_of([(0.1, 0.2, 0.3, 0.3), (0.5, 0.5, 0.9, 0.9)])
    row, column = np.argwhere(p_centre == p_centre.max())[0]
    p_centre[row, column + 1] = 0.85
    assert read_count("How many?", p_centre, 0.5).text == "2"
    assert read_count("How many?", p_centre, 0.85).text == "1"
    assert read_count("How many?", 0 * p_centre, 0.3).text == "0"
    sure, even, gone = (read_presence("Is there?", p * np.ones((2, 2)), even=0.3) for p in (1.0, 0.3, 0.0))
    assert (sure.text, even.text, gone.text) == ("yes", "yes", "no")
    assert even.score == pytest.approx(0.5)
    assert 0.999 < sure.score <= 1
    assert gone.score == 1
    # Twice the odds of the even cell: four times as likely as not.
    assert read_presence("Is there?", np.full((2, 2), 6 / 13), even=0.3).score == pytest.approx(0.8)


def test_boxes_stay_in_the_picture_and_have_a_size():
    p_centre, sides = heads_of([(0.9, 0.9, 0.99, 0.99)])
    sides[2], sides[3] = 6, -9
    (found,) = read_boxes("ship", p_centre, sides)
    x1, y1, x2, y2 = found.box_frac
    assert (x1, x2) == (0, 1)
    assert 0 <= y1 < y2 <= 1


def test_runtime_and_training_spread_cells_alike():
    values = np.random.default_rng(0).random((9, 12), np.float32)
    np.testing.assert_array_equal(to_cells(values), to_cells_in_training(torch.from_numpy(values)[None])[0].numpy())

import numpy as np
import pytest

from rsvlm_cli.tasks.mosaic import EDGE_WEIGHT, Mosaic, decide, finish_mask, from_levels, to_levels

GRID = 24
ALL = np.ones((GRID, GRID), bool)
STEP = 1e-4


def finish(mosaic, threshold=0.5):
    shape = mosaic.levels.shape
    area_px, thresholds = (0.0, 0.0, 10.0 * shape[2], 10.0 * shape[1]), np.full(len(mosaic.labels), threshold)
    return finish_mask(mosaic.labels, mosaic.finish(), area_px, thresholds, "p")


def test_one_window_goes_through_the_mosaic_unchanged():
    p_set = np.random.default_rng(0).random((2, GRID, GRID), np.float32)
    mosaic = Mosaic(("water", "road"), GRID, (0, 0), (GRID, GRID))
    mosaic.add(0, 0, p_set, ALL)
    mask = finish(mosaic)
    top = p_set.max(axis=0)
    np.testing.assert_array_equal(mask.cells, np.where(top >= 0.5, p_set.argmax(axis=0) + 1, 0))
    np.testing.assert_allclose(mask.probability, np.where(top >= 0.5, top, 1 - top), atol=STEP)


def test_windows_that_agree_leave_no_seam():
    y, x = np.mgrid[:60, :60]
    truth = ((x // 12 + y // 12) % 2).astype(np.float32)
    mosaic = Mosaic(("water",), GRID, (0, 0), (60, 60))
    for top in (0, 18, 36):
        for left in (0, 18, 36):
            mosaic.add(top, left, truth[None, top : top + GRID, left : left + GRID], ALL)
    np.testing.assert_array_equal(finish(mosaic).cells, truth)


def test_a_vote_counts_more_the_nearer_its_window_s_centre():
    mosaic = Mosaic(("water",), GRID, (0, 0), (GRID, 36))
    mosaic.add(0, 0, np.ones((1, GRID, GRID), np.float32), ALL)
    mosaic.add(0, 12, np.zeros((1, GRID, GRID), np.float32), ALL)
    p_row = from_levels(mosaic.finish())[0, 12]
    assert (p_row[:12] == 1).all()
    assert (np.diff(p_row[12:24]) < 0).all()
    assert p_row[17] + p_row[18] == pytest.approx(1, abs=STEP)
    assert (p_row[24:] == 0).all()


def test_a_mosaic_of_a_part_is_the_part_of_the_mosaic():
    rng = np.random.default_rng(1)
    windows = [
        (row, column, rng.random((2, GRID, GRID), np.float32))
        for row in range(0, 99, 17)
        for column in range(0, 99, 18)
    ]
    whole, part = Mosaic(("a", "b"), GRID, (0, 0), (130, 130)), Mosaic(("a", "b"), GRID, (31, 40), (50, 45))
    for row, column, p_set in windows:
        whole.add(row, column, p_set, ALL)
        if row < 81 and row + GRID > 31 and column < 85 and column + GRID > 40:
            part.add(row, column, p_set, ALL)
    np.testing.assert_array_equal(part.finish(), whole.finish()[:, 31:81, 40:85])


def test_cells_without_data_and_windows_never_seen_are_no_data():
    valid = ALL.copy()
    valid[:, :6] = False
    mosaic = Mosaic(("water",), GRID, (0, 0), (60, 48))
    mosaic.add(0, 0, np.ones((1, GRID, GRID), np.float32), valid)
    mosaic.add(36, 0, np.ones((1, GRID, GRID), np.float32), ALL)
    cells = finish(mosaic).cells
    expected = np.full((60, 48), 255)
    expected[:GRID, 6:GRID] = expected[36:, :GRID] = 1
    np.testing.assert_array_equal(cells, expected)


def test_where_no_window_looks_closer_the_coarser_cells_hold_and_elsewhere_count_little():
    coarse = to_levels(np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[True, True], [True, False]]))
    coarse = coarse.repeat(GRID // 2, axis=1).repeat(GRID // 2, axis=2)
    mosaic = Mosaic(("water",), GRID, (0, 0), (2 * GRID, 2 * GRID), coarse)
    mosaic.add(0, 0, np.zeros((1, GRID, GRID), np.float32), ALL)
    levels = mosaic.finish()
    cells = decide(levels, np.full(1, 0.5))[0]
    assert (cells[6:18, 6:18] == 0).all()
    assert (cells[0, :GRID] == 1).all()  # what a window says of its rim is worth less than the coarser cell
    assert from_levels(levels)[0, 12, 12] == pytest.approx(EDGE_WEIGHT / (EDGE_WEIGHT + (23 / 24) ** 2), abs=1e-3)
    assert (cells[GRID:, :GRID] == 0).all()
    assert (cells[GRID:, GRID:] == 255).all()


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_the_threshold_decides(threshold):
    mosaic = Mosaic(("water",), GRID, (0, 0), (GRID, GRID))
    mosaic.add(0, 0, np.full((1, GRID, GRID), 0.5, np.float32), ALL)
    assert (finish(mosaic, threshold).cells == (threshold < 0.5)).all()


def test_a_cell_is_of_the_label_that_passes_its_threshold_by_the_larger_factor():
    p_set = np.array([[0.6, 0.6, 0.4, 0.0], [0.3, 0.1, 0.05, 0.0]])[:, None]
    cells, probability = decide(to_levels(p_set, np.ones((1, 4), bool)), np.array([0.5, 0.1]))
    assert cells.tolist() == [[2, 1, 0, 0]]
    assert probability[0] == pytest.approx([0.3, 0.6, 0.6, 1.0], abs=1e-4)


def test_memory_is_one_strip_however_tall_the_mosaic():
    small, large = (Mosaic(("water",), GRID, (0, 0), (n, 100)) for n in (100, 100_000))
    assert small._sum.nbytes + small._weight.nbytes == large._sum.nbytes + large._weight.nbytes
    assert isinstance(large.levels, np.memmap)

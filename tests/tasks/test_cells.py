"""What is read cell by cell comes back as it was: blocks, cores, reaches."""

import numpy as np
import pytest

from rsvlm_cli.tasks.cells import BLOCKS, REACHES, blocks_of, box_at, cells_set, core_of, reach_of, spot_of


def test_blocks_are_the_cells_they_were_made_of() -> None:
    cells = (np.random.default_rng(0).random((24, 24)) < 0.4).astype(np.int8)
    np.testing.assert_array_equal(cells_set(np.eye(len(BLOCKS))[blocks_of(cells)]), cells)


def test_a_block_with_an_unknown_cell_is_unknown() -> None:
    cells = np.zeros((4, 4), np.int8)
    cells[0, 3] = -1
    assert blocks_of(cells).tolist() == [0, -1, 0, 0]


def test_a_cells_probability_is_that_of_the_shapes_that_set_it() -> None:
    p = np.zeros((1, 16))
    p[0, BLOCKS.index("▘")], p[0, BLOCKS.index("█")] = 0.5, 0.25
    np.testing.assert_allclose(cells_set(p), [[0.75, 0.25], [0.25, 0.25]])


@pytest.mark.parametrize("box", [(0.1, 0.2, 0.4, 0.3), (0.0, 0.0, 1.0, 1.0), (0.501, 0.502, 0.511, 0.513)])
def test_every_cell_of_a_core_speaks_of_its_box(box: tuple[float, float, float, float]) -> None:
    for row, column in core_of(box, 24).tolist():
        reach = reach_of(box, row, column, 24)
        low = np.floor(reach).astype(int).clip(max=len(REACHES) - 2)
        p = np.zeros((4, len(REACHES)))
        p[np.arange(4), low], p[np.arange(4), low + 1] = 1 - (reach - low), reach - low
        np.testing.assert_allclose(box_at(row, column, 24, p), box, atol=0.01)


def test_the_core_begins_at_the_centre_and_stays_within_the_box() -> None:
    core = core_of((0.25, 0.2, 0.75, 0.6), 8)
    assert core[0].tolist() == [3, 4]
    assert set(map(tuple, core.tolist())) == {(r, c) for r in (2, 3) for c in (3, 4)} | {(3, 4)}


def test_a_cell_is_named_by_its_block_and_its_corner() -> None:
    assert [spot_of(r, c, 4) for r, c in ((0, 0), (0, 3), (3, 0), (3, 3))] == [(0, "▘"), (1, "▝"), (2, "▖"), (3, "▗")]

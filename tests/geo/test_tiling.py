from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsvlm_cli.geo.tiling import OVERLAP_FRAC, Cells, Lattice, Place, window_around

GRID = 24
sides = st.integers(16, 1500)


def whole(lattice):
    return Cells(0, 0, *lattice.shape_cells)


@given(sides, sides, st.integers(90, 700))
def test_windows_of_one_size_cover_the_raster_and_overlap(width, height, tile_px):
    lattice = Lattice.over((0.0, 0.0, float(width), float(height)), tile_px, GRID)
    places = list(lattice.places(whole(lattice)))
    windows = [lattice.window_px(place) for place in places]
    assert len(set(windows)) == len(windows)
    for axis, side in ((0, width), (1, height)):
        starts = sorted({(window[axis], window[axis + 2]) for window in windows})
        assert starts[0][0] == 0
        assert starts[-1][1] == side
        assert all(b[0] - a[0] <= tile_px * (1 - OVERLAP_FRAC) + 1 for a, b in pairwise(starts))
        assert all(abs(b - a - min(tile_px, side)) <= 1 + tile_px / GRID for a, b in starts)


@given(sides, sides, st.integers(90, 700), st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)), st.floats(0.05, 1))
def test_the_windows_of_a_part_are_those_of_the_whole_that_meet_it(width, height, tile_px, corner, extent):
    lattice = Lattice.over((0.0, 0.0, float(width), float(height)), tile_px, GRID)
    x1, y1 = width * corner[0], height * corner[1]
    part = lattice.cells_in((x1, y1, min(width, x1 + width * extent), min(height, y1 + height * extent)))
    every = list(lattice.places(whole(lattice)))
    chosen = list(lattice.places(part))
    meets = [
        p
        for p in every
        if p.row < part.bottom and p.row + GRID > part.top and p.column < part.right and p.column + GRID > part.left
    ]
    assert chosen == meets
    assert chosen


@given(sides, sides, st.integers(90, 700))
def test_cores_cover_every_cell_once(width, height, tile_px):
    lattice = Lattice.over((0.0, 0.0, float(width), float(height)), tile_px, GRID)
    seen = np.zeros(lattice.shape_cells, int)
    for place in lattice.places(whole(lattice)):
        core = lattice.core(place)
        assert core.top >= place.row
        assert core.bottom <= place.row + GRID
        seen[core.top : core.bottom, core.left : core.right] += 1
    assert (seen == 1).all()


def test_the_cells_of_a_finer_lattice_nest():
    lattice = Lattice.over((0.0, 0.0, 1000.0, 700.0), 384, GRID)
    finer = lattice.finer(2)
    assert finer.cell_px == pytest.approx([side / 4 for side in lattice.cell_px])
    assert finer.tile_px == pytest.approx(lattice.tile_px / 4)
    assert finer.box_px(Cells(8, 4, 12, 8)) == pytest.approx(lattice.box_px(Cells(2, 1, 3, 2)))


def test_a_tile_that_divides_the_raster_gives_its_own_windows():
    lattice = Lattice.over((0.0, 0.0, 512.0, 512.0), 256, GRID)
    assert sorted({lattice.window_px(p)[0] for p in lattice.places(whole(lattice))}) == [0, 128, 256]


def test_an_area_no_larger_than_a_window_is_looked_at_whole():
    for tile_px in (200, None):
        lattice = Lattice.over((10.0, 20.0, 110.0, 70.0), tile_px, GRID)
        assert list(lattice.places(whole(lattice))) == [Place(0, 0)]
        assert lattice.window_px(Place(0, 0)) == (10, 20, 110, 70)
        assert lattice.shape_cells == (GRID, GRID)


def test_a_window_around_a_region_is_cut_at_the_raster_s_edge():
    assert window_around((40, 50, 60, 70), 100, 500, 500) == (0, 10, 100, 110)
    assert window_around((40.5, 250, 60.5, 270), 101, 500, 300) == (0, 209, 101, 300)

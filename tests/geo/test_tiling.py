from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rsvlm_cli.geo.tiling import OVERLAP_FRAC, plan_windows, window_around


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 900), st.integers(1, 900), st.integers(16, 300))
def test_windows_of_one_size_cover_the_area_and_overlap(x, y, width, height, tile_px):
    windows = plan_windows((x, y, x + width, y + height), tile_px)
    assert {(x2 - x1, y2 - y1) for x1, y1, x2, y2 in windows} == {(min(tile_px, width), min(tile_px, height))}
    for low, side, axis in ((x, width, 0), (y, height, 1)):
        starts = sorted({window[axis] for window in windows})
        assert starts[0] == low
        assert starts[-1] + min(tile_px, side) == low + side
        gaps = [b - a for a, b in pairwise(starts)]
        assert all(gap <= tile_px * (1 - OVERLAP_FRAC) + 1 for gap in gaps)
    assert len(windows) == len(set(windows))


def test_an_area_no_larger_than_a_window_is_looked_at_whole():
    assert plan_windows((10, 20, 110, 70), 200) == [(10, 20, 110, 70)]


def test_a_window_around_a_region_is_cut_at_the_raster_s_edge():
    assert window_around((40, 50, 60, 70), 100, 500, 500) == (0, 10, 100, 110)
    assert window_around((40.5, 250, 60.5, 270), 101, 500, 300) == (0, 209, 101, 300)

from hypothesis import given
from hypothesis import strategies as st

from rsvlm_cli.geo.quarters import area_of, cut_quarters, grow, longest_side

sides = st.integers(2, 5000)


@given(st.integers(-50, 50), st.integers(-50, 50), sides, sides)
def test_the_parts_cover_a_box_once_at_whole_pixels_and_none_is_longer(x, y, width, height):
    box = (float(x), float(y), float(x + width), float(y + height))
    parts = cut_quarters(box)
    assert sum(map(area_of, parts)) == area_of(box)
    assert len({part[:2] for part in parts}) == len(parts) in (2, 4)
    assert all(v == int(v) for part in parts for v in part)
    assert min(map(area_of, parts)) > 0
    assert max(map(longest_side, parts)) < longest_side(box)


def test_a_strip_is_cut_across_its_length():
    assert cut_quarters((0, 0, 1000, 100)) == [(0, 0, 500, 100), (500, 0, 1000, 100)]
    assert cut_quarters((0, 0, 10, 100)) == [(0, 0, 10, 50), (0, 50, 10, 100)]
    assert len(cut_quarters((0, 0, 140, 100))) == 4


def test_a_box_grows_on_every_edge_and_not_beyond_another():
    assert grow((100, 100, 200, 180), 0.125, (0, 0, 1000, 1000)) == (88, 90, 212, 190)
    assert grow((0, 100, 200, 1000), 0.125, (0, 0, 1000, 1000)) == (0, 0, 225, 1000)

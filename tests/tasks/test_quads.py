"""Turned boxes as text: read into one order of vertices whatever the form, and never of another form than asked."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import affinity

from rsvlm_cli.tasks import ground
from rsvlm_cli.tasks.dialect import RSCOVLM, BoxStyle, Dialect
from rsvlm_cli.tasks.grammar import matches
from rsvlm_cli.tasks.quads import BoxLines, hull_of, order_vertices, parse_quads
from tests.fake_engine import FakeReply, FakeStep, spell
from tests.grammars import draw_reply

SIZE = (400, 200)
QUADS, OBBS = BoxStyle.QUADS, BoxStyle.OBBS
LINE = "100,20,180,60,160,100,80,60 ship\n"


def read_px(text, style=QUADS):
    """Return what is read, ``(n, 4, 2)`` in pixels of the picture."""
    return np.array([quad for quad, _ in parse_quads(text, style, SIZE)]).reshape(-1, 4, 2) * SIZE


def write(points):
    return ",".join(f"{v:g}" for v in np.ravel(points)) + " ship\n"


def test_things_are_asked_for_as_in_training():
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    request = ground.request(RSCOVLM, "tennis court")
    assert request.prompt == (
        "<|im_start|>system\nAs an AI assistant, you specialize in accurate oriented object detection, delivering "
        "coordinates of the polygon vertices in plain text format 'x1,y1,x2,y2,x3,y3,x4,y4 object'.<|im_end|>\n"
        f"<|im_start|>user\n{image}find the tennis court<|im_end|>\n<|im_start|>assistant\n"
    )
    assert matches(request.grammar, "1,2,30,4,50,60,7,80 tennis court\n" * 3)
    assert matches(request.grammar, "There are none.")
    assert Dialect.from_json(json.loads(json.dumps(RSCOVLM.to_json()))) == RSCOVLM


@given(st.permutations(range(4)), st.integers(10, 60), st.integers(5, 40), st.integers(-90, 89))
def test_vertices_in_any_order_are_read_clockwise_from_the_highest_and_leftmost(order, width, height, angle):
    rectangle = affinity.rotate(shapely.box(200 - width, 100 - height, 200 + width, 100 + height), angle)
    corners = shapely.get_coordinates(rectangle)[:4].round()
    (quad,) = read_px(write(corners[order]))
    assert {tuple(p) for p in quad.round(6).tolist()} == {tuple(p) for p in corners.tolist()}
    assert tuple(quad[0, ::-1]) == min((y, x) for x, y in quad.tolist())
    assert shapely.LinearRing(quad).is_ccw  # in shapely y runs up
    assert hull_of(quad.tolist()) == pytest.approx(shapely.MultiPoint(corners).bounds)


@given(st.integers(30, 100), st.integers(4, 30), st.integers(-90, 89))
def test_middle_sides_and_angle_are_the_rectangle_turned_clockwise(width, height, angle):
    upright = shapely.box(200 - width / 2, 100 - height / 2, 200 + width / 2, 100 + height / 2)
    (quad,) = read_px(f"200,100,{width},{height},{angle} ship\n", OBBS)
    # With y downwards, shapely's anticlockwise is clockwise on screen.
    expected = affinity.rotate(upright, angle)
    assert shapely.Polygon(quad).symmetric_difference(expected).area == pytest.approx(0, abs=1e-6)


def test_json_says_the_same():
    entries = [{"quadrant bbox": [100, 20, 180, 60, 160, 100, 80, 60], "label": "ship"}] * 2
    text = "```json\n[\n\t" + ",\n\t".join(map(json.dumps, entries)) + "\n]\n```"
    np.testing.assert_array_equal(read_px(text), read_px(2 * LINE))
    text = '```json\n[\n\t{"oriented bbox": [200, 100, 80, 20, -30], "label": "ship 7"}\n]\n```'
    np.testing.assert_array_equal(read_px(text, OBBS), read_px("200,100,80,20,-30 ship\n", OBBS))


@pytest.mark.parametrize(
    "broken",
    [
        "1,2,3,4 ship\n",
        "100,20,180,60,160,100,80 ship\n",
        "100,20,180,60,160,100,80,60,7 ship\n",
        "100,20,,180,60,160,100,80,60 ship\n",
        "over there\n",
        "5,5,5,5,5,5,5,5 ship\n",
        "10,10,20,20,30,30,40,40 ship\n",
        "500,10,600,20,590,60,480,50 ship\n",
        "0,0,100,100,90,10,95,5 ship\n",
    ],
    ids=["box", "seven", "nine", "hole", "words", "point", "line", "outside", "concave"],
)
def test_a_broken_line_is_passed_over_and_the_others_are_read(broken):
    np.testing.assert_array_equal(read_px(LINE + broken + LINE), read_px(2 * LINE))


def test_a_thing_that_the_edge_cuts_may_reach_beyond_it_and_one_elsewhere_is_none():
    (quad,) = read_px("0,100,60,20,90 ship\n", OBBS)
    np.testing.assert_allclose(quad, [(-10, 70), (10, 70), (10, 130), (-10, 130)], atol=1e-9)
    assert len(read_px("-5,100,60,20,90 ship\n200,100,1300,20,0 ship\n", OBBS)) == 0


def test_each_line_has_the_score_of_its_own_numbers():
    steps = [FakeStep("1", 0.8, choices=(("1", 0.8), ("There", 0.2)))]
    steps += [FakeStep(c, 0.5 if c.isdigit() else 1.0) for c in "00,20,180,60,160,100,80,60 ship 9\n"]
    steps += spell("100,20,180,60,160,100,80,60 ship 9\n", 0.9).steps
    first, second = ground.read(RSCOVLM, "ship 9", FakeReply(tuple(steps)), SIZE)
    assert first.score == pytest.approx(0.8 * (0.8 * 0.5**19) ** (1 / 20))
    assert second.score == pytest.approx(0.8 * 0.9)
    assert first.quad_frac == second.quad_frac == ((0.25, 0.1), (0.45, 0.3), (0.4, 0.5), (0.2, 0.3))
    assert first.box_frac == (0.2, 0.1, 0.45, 0.5)


def test_none_is_no_box_and_a_cut_reply_keeps_the_whole_lines():
    assert ground.read(RSCOVLM, "ship", spell("There are none."), SIZE) == []
    cut = FakeReply(spell(LINE + LINE[:-6]).steps, finish="length")
    assert len(ground.read(RSCOVLM, "ship", cut, SIZE)) == 1


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=4, max_size=4, unique=True))
def test_ordering_twice_changes_nothing(points):
    ordered = order_vertices(np.array(points))
    assert sorted(ordered) == sorted(points)
    assert ordered[0][::-1] == min(point[::-1] for point in points)


@given(st.data(), st.sampled_from([8, 5]))
def test_from_every_state_of_the_grammar_a_whole_reply_is_within_reach(data, n_numbers):
    grammar = BoxLines("ship", n_numbers, "There are none.", max_lines=2, max_digits=2)
    lines = draw_reply(data, grammar).splitlines()
    assert lines == ["There are none."] or all(len(line.split(" ")[0].split(",")) == n_numbers for line in lines)
    assert all(line.endswith(" ship") for line in lines if line != "There are none.")


def test_a_family_without_a_word_for_none_says_a_box():
    grammar = BoxLines("ship", 5, None, max_lines=1)
    assert matches(grammar, "-1,2,30,4,-5 ship\n")
    for text in ("", "\0", "There are none.", "--1,2,3,4,5 ship\n", "1,2,3,4,-5 ship\n" * 2, "01,2,3,4,5 ship\n"):
        assert not matches(grammar, text)

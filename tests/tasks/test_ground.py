from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsvlm_cli.errors import ReplyMalformed
from rsvlm_cli.tasks import ground
from rsvlm_cli.tasks.dialect import RSCOVLM, RSUNIVLM, Granularity
from rsvlm_cli.tasks.grammar import BoxList, matches, parse_boxes
from tests.fake_engine import WRITTEN, FakeReply, FakeStep, spell
from tests.grammars import draw_reply

SIZE_PX = (100, 100)


def test_grounding_asks_the_region_expert_with_a_box_grammar():
    request = ground.request(WRITTEN, "red roof")
    assert request.expert == Granularity.REGION
    assert "[VG] Where is the red roof?" in request.prompt
    assert matches(request.grammar, "[1, 2, 3, 4] [5, 6, 7, 8]")
    assert matches(request.grammar, "none")


def test_a_box_scores_found_times_the_geometric_mean_of_its_digits():
    first = FakeStep("[", 0.8, choices=(("[", 0.8), ("none", 0.2)))
    digits = [
        FakeStep("10", 0.5),
        FakeStep(", "),
        FakeStep("20", 0.5),
        FakeStep(", "),
        FakeStep("30", 0.5),
        FakeStep(", "),
    ]
    reply = FakeReply((first, *digits, FakeStep("40", 0.5), FakeStep("]")))
    (box,) = ground.read(WRITTEN, "ship", reply, SIZE_PX)
    assert box.box_frac == (0.1, 0.2, 0.3, 0.4)
    assert box.score == pytest.approx(0.8 * 0.5)
    assert box.score_method == "p(found) * mean p(coordinate)"


def test_each_box_has_its_own_score_where_tokens_join_brackets():
    parts = [("[1, 2, ", 0.9), ("3, 4] [", 0.9), ("5, 6, ", 0.1), ("7, 8", 0.1), ("]", 1.0)]
    boxes = ground.read(RSUNIVLM, "ship", FakeReply(tuple(FakeStep(text, p) for text, p in parts)), SIZE_PX)
    assert [box.score for box in boxes] == pytest.approx([0.9, 0.1])
    assert boxes[0].score_method == "mean p(coordinate)"


def test_none_is_no_box_and_a_low_probability_of_found():
    reply = FakeReply((FakeStep("none", 0.95, choices=(("none", 0.95), ("[", 0.05))),))
    assert ground.read(WRITTEN, "ship", reply, SIZE_PX) == []
    assert ground.probability_found(WRITTEN, reply) == pytest.approx(0.05)


def test_a_first_vertex_beyond_the_edge_says_that_something_is_there():
    first = FakeStep("-", 0.9, choices=(("-", 0.9), ("There", 0.1)))
    steps = (first, *(FakeStep(text) for text in "3,10,20,30,10,40,-12,20 ship\n"))
    (box,) = ground.read(RSCOVLM, "ship", FakeReply(steps), SIZE_PX)
    assert box.quad_frac[-1] == (-0.12, 0.2)
    assert box.score == pytest.approx(0.9)


def test_a_cut_reply_keeps_the_whole_boxes():
    reply = replace(spell("[1, 2, 3, 4] [5, 6, 7"), finish="length")
    assert [box.box_frac for box in ground.read(WRITTEN, "ship", reply, SIZE_PX)] == [(0.01, 0.02, 0.03, 0.04)]


def test_text_that_is_no_box_is_malformed():
    with pytest.raises(ReplyMalformed, match="no list of boxes"):
        ground.read(WRITTEN, "ship", spell("over there"), SIZE_PX)


@given(st.lists(st.integers(0, 20), min_size=4, max_size=4))
def test_the_grammar_takes_a_box_exactly_where_its_corners_are_in_order(numbers):
    x1, y1, x2, y2 = numbers
    grammar = BoxList(scale=20, no_boxes="none")
    assert matches(grammar, f"[{x1}, {y1}, {x2}, {y2}]") is (x1 < x2 and y1 < y2)


@given(st.data())
def test_from_every_state_of_the_box_grammar_a_whole_reply_is_within_reach(data):
    grammar = BoxList(scale=20, no_boxes="none", max_boxes=2)
    for x1, y1, x2, y2 in parse_boxes(draw_reply(data, grammar), 20, "none"):
        assert 0 <= x1 < x2 <= 1
        assert 0 <= y1 < y2 <= 1

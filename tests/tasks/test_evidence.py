"""How answers of windows make a scene's."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsvlm_cli.results import Answer, Box
from rsvlm_cli.tasks.evidence import (
    EVEN_ODDS,
    EVEN_ODDS_OF_HEAD,
    MAX_ODDS,
    Detail,
    Evidence,
    Presence,
    Total,
    count_boxes,
    odds_by_cells,
)
from rsvlm_cli.tasks.merge import SeenBox


def said(text: str, p: float, area: float = 1.0, **trust: float) -> Evidence:
    return Evidence(area=area, found=Answer(text=text, question="?", score=p), **trust)


def window(p_yes: float, area: float = 1.0, **trust: float) -> Evidence:
    return said("yes", p_yes, area, **trust) if p_yes >= 0.5 else said("no", 1 - p_yes, area, **trust)


def p_yes_of(windows: list[Evidence]) -> float:
    found, _ = Presence().conclude(windows)
    return found.score if found.text == "yes" else 1 - found.score


def test_presence_is_bayes_rule_for_one_thing_at_an_unknown_place():
    # Simulated: windows draw a measurement, higher where the thing is; each says its own posterior at even odds.
    rng, n_windows, n_scenes = np.random.default_rng(0), 16, 4000
    there, place = rng.random(n_scenes) < 0.5, rng.integers(n_windows, size=n_scenes)
    measured = rng.normal(0, 1, (n_scenes, n_windows))
    measured[np.arange(n_scenes), place] += 3.0 * there
    p_window = 1 / (1 + np.exp(-(3.0 * measured - 4.5)))  # the likelihood ratio of N(3, 1) to N(0, 1)
    p_scene = np.array([p_yes_of([window(p) for p in row]) for row in p_window])
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.7), (0.7, 0.9), (0.9, 1)):
        inside = (p_scene >= low) & (p_scene <= high)
        assert p_scene[inside].mean() == pytest.approx(there[inside].mean(), abs=0.06)
    # The rules that come to mind first are further from the truth.
    right = ((p_scene >= 0.5) == there).mean()
    assert right > ((p_window.max(axis=1) >= 0.5) == there).mean() + 0.02
    assert right > ((1 - (1 - p_window).prod(axis=1) >= 0.5) == there).mean() + 0.05


@given(st.floats(0.01, 0.99), st.integers(1, 60))
def test_windows_that_all_say_the_same_say_it_together_however_many_they_are(p, n):
    assert p_yes_of([window(p)] * n) == pytest.approx(p, abs=1e-6)


def test_the_answer_rests_on_the_window_that_adds_most_and_a_no_on_none():
    windows = [window(0.2), window(0.97), window(0.4, area=2)]
    found, rests_on = Presence().conclude(windows)
    assert (found.text, rests_on) == ("yes", [windows[1]])
    found, rests_on = Presence().conclude([window(0.2), window(0.3)])
    assert (found.text, rests_on) == ("no", [])
    assert found.score == pytest.approx(1 - p_yes_of([window(0.2), window(0.3)]))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_probability_of_one_is_no_infinite_evidence(p):
    assert 0 < p_yes_of([window(p), window(0.5)]) < 1


def test_a_coarse_window_says_little_and_a_large_one_promises_more():
    assert p_yes_of([window(0.99, trust_yes=0.25, trust_no=0.25)]) == pytest.approx(1 / (1 + 99**-0.25))
    assert p_yes_of([window(0.01, trust_yes=1, trust_no=0.25)]) == pytest.approx(1 / (1 + 99**0.25))
    assert Presence().rank(window(0.5, area=4)) > Presence().rank(window(0.5))
    assert Presence().rank(window(0.9)) > Presence().rank(window(0.5, area=4))


def test_a_count_is_the_sum_and_its_score_that_every_window_is_right():
    windows = [said("2", 0.5), said("0", 0.8), said("11", 0.5)]
    found, rests_on = Total().conclude(windows)
    assert (found.text, found.score) == ("13", pytest.approx(0.2))
    assert rests_on == [windows[0], windows[2]]
    assert not Total().certain([said("2", 1.0)])
    assert not found.truncated
    cut = Evidence(area=1, found=Answer(text="", score=0.5, truncated=True))
    assert Total().conclude([cut, *windows])[0].truncated


def test_a_detail_goes_down_only_where_certainty_grows():
    parent, parts = said("red", 0.5), [said("blue", 0.4), said("red", 0.6), said("green", 0.7)]
    assert Detail().keep(parent, parts) == [parts[2]]
    assert Detail().keep(parts[2], [parent]) == []
    assert Detail().conclude([parent, parts[2]])[0].text == "green"


def test_a_window_s_odds_are_those_of_its_most_probable_cell():
    usual = np.full((16, 16), EVEN_ODDS / (1 + EVEN_ODDS))
    assert odds_by_cells(usual) == pytest.approx(1)
    sure = usual.copy()
    sure[3, 5] = 0.9
    assert odds_by_cells(sure) == pytest.approx(9 / EVEN_ODDS)
    assert odds_by_cells(sure, by_head=True) == pytest.approx((9 / EVEN_ODDS_OF_HEAD) ** 2)
    assert odds_by_cells(np.zeros((16, 16))) == 1 / MAX_ODDS
    assert odds_by_cells(np.ones((16, 16))) == MAX_ODDS


def test_a_count_s_windows_are_split_in_the_order_of_their_cells():
    few, many = said("1", 0.5, odds=9.0), said("3", 0.5, odds=2.0)
    assert Total().rank(few) > Total().rank(many)
    assert Total().rank(replace(few, odds=None)) < Total().rank(replace(many, odds=None))


Boxes = tuple[float, float, float, float]


def seen(*boxes: Boxes, odds: float = 1.0) -> Evidence:
    found = Answer(text=str(len(boxes)), question="?", score_method="boxes of at least 0.4")
    return Evidence(area=1, found=found, odds=odds, boxes=tuple(SeenBox(Box(label="ship", box_px=b)) for b in boxes))


def test_boxes_that_two_windows_saw_of_one_thing_count_once():
    windows = [seen((0, 0, 10, 10), (40, 0, 50, 10)), seen((41, 0, 51, 10)), seen()]
    found, rests_on = count_boxes([windows])
    assert (found.text, found.score, found.score_method) == ("2", None, "boxes of at least 0.4")
    assert rests_on == windows[:2]


def test_boxes_are_counted_at_the_level_where_one_of_them_is_surest():
    coarse, fine = [seen((0, 0, 9, 9), (20, 0, 29, 9), odds=9.0)], [seen((0, 0, 9, 9), odds=4.0), seen(odds=0.1)]
    assert count_boxes([coarse, fine])[0].text == "2"
    assert count_boxes([[replace(coarse[0], odds=2.0)], fine])[0].text == "1"


def test_what_is_there_by_the_odds_of_its_windows_is_at_least_one():
    found, rests_on = count_boxes([[seen(odds=7.0), seen(odds=0.1)]])
    assert (found.text, found.score_method) == ("1", "no boxes of at least 0.4, but mean odds of 2 windows, by area")
    assert [window.odds for window in rests_on] == [7.0]
    assert count_boxes([[seen(odds=1.5), seen(odds=0.1)]])[0].text == "0"

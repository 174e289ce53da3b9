"""Texts and their inverses, and the automata against them: what is written is accepted, what is accepted is written."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rsvlm_cli.errors import ReplyMalformed, UsageError
from rsvlm_cli.tasks.dialect import MaskStyle
from rsvlm_cli.tasks.grammar import (
    QUADRANTS,
    BoxList,
    Choice,
    Count,
    Grammar,
    RunMask,
    format_box,
    format_boxes,
    format_mask,
    mask_grammar,
    matches,
    parse_boxes,
    parse_mask,
)

LABELS = ("water", "waterway", "built-up area")
STYLES = [MaskStyle.RUNS, MaskStyle.QUADRANTS]


@st.composite
def box_texts(draw: Any, scale: int = 100, min_size: int = 1) -> str:
    corner = st.tuples(st.integers(0, scale), st.integers(0, scale)).filter(lambda pair: pair[0] < pair[1])
    boxes = draw(st.lists(st.tuples(corner, corner), min_size=min_size, max_size=4))
    return " ".join(f"[{x1}, {y1}, {x2}, {y2}]" for (x1, x2), (y1, y2) in boxes)


def cells(grid: int = 6) -> st.SearchStrategy[np.ndarray]:
    bits = st.lists(st.booleans(), min_size=grid * grid, max_size=grid * grid)
    return bits.map(lambda values: np.array(values).reshape(grid, grid))


@st.composite
def mutations(draw: Any, text: str) -> str:
    """Return the text with one character changed, added or taken out."""
    alphabet = sorted(set("0123456789[],* \nabz░█") | set(text))
    at, char = draw(st.integers(0, len(text) - 1)), draw(st.sampled_from(alphabet))
    kept = draw(st.sampled_from([text[at:], text[at + 1 :]]))
    return text[:at] + draw(st.sampled_from([char, ""])) + kept


def random_walk(grammar: Grammar[Any], data: st.DataObject) -> str:
    """Follow the automaton byte by byte to a text that it accepts."""
    state, text = grammar.start(), b""
    while True:
        steps = [byte for byte in range(256) if grammar.step(state, byte) is not None]
        assert steps or grammar.accepts(state), f"dead end after {text!r}"
        if grammar.accepts(state) and (not steps or data.draw(st.booleans())):
            return text.decode()
        byte = data.draw(st.sampled_from(steps))
        state, text = grammar.step(state, byte), text + bytes([byte])


# --- boxes ------------------------------------------------------------------------------------------------------------


@given(box_texts(), st.sampled_from([None, "none"]))
def test_box_text_is_accepted_and_comes_back(text: str, no_boxes: str | None) -> None:
    assert matches(BoxList(scale=100, no_boxes=no_boxes), text)
    assert format_boxes(parse_boxes(text, 100, no_boxes), 100, no_boxes) == text


@given(st.tuples(*[st.floats(-0.2, 1.2)] * 4), st.sampled_from([10, 100, 1000]))
def test_any_box_is_written_within_the_picture_and_never_empty(
    box: tuple[float, float, float, float], scale: int
) -> None:
    x1, y1, x2, y2 = parse_boxes(format_box(box, scale), scale, None)[0]
    assert 0 <= x1 < x2 <= 1
    assert 0 <= y1 < y2 <= 1


@given(st.data())
def test_a_changed_box_text_is_refused_or_is_another_box_text(data: st.DataObject) -> None:
    text = data.draw(mutations(data.draw(box_texts())))
    if matches(BoxList(scale=100, no_boxes="none"), text):
        assert format_boxes(parse_boxes(text, 100, "none"), 100, "none") == text
    else:
        with pytest.raises(ReplyMalformed) as error:
            parse_boxes(text, 100, "none")
        assert error.value.reply == text


@given(st.data(), st.sampled_from([(12, None), (100, "none"), (1000, "none")]))
def test_every_walk_through_the_box_grammar_is_box_text(data: st.DataObject, family: tuple[int, str | None]) -> None:
    text = random_walk(BoxList(scale=family[0], no_boxes=family[1], max_boxes=3), data)
    boxes = parse_boxes(text, *family)
    assert len(boxes) <= 3
    assert format_boxes(boxes, *family) == text


def test_no_more_boxes_than_allowed() -> None:
    grammar = BoxList(scale=100, no_boxes="none", max_boxes=2)
    assert matches(grammar, "[1, 2, 3, 4] [1, 2, 3, 4]")
    assert not matches(grammar, "[1, 2, 3, 4] [1, 2, 3, 4] [1, 2, 3, 4]")


def test_the_word_for_none_stands_alone() -> None:
    grammar = BoxList(scale=100, no_boxes="none")
    assert matches(grammar, "none")
    assert parse_boxes("none", 100, "none") == []
    for text in ("", "non", "nonenone", "none [1, 2, 3, 4]", "[1, 2, 3, 4] none"):
        assert not matches(grammar, text)
    assert not matches(BoxList(scale=100, no_boxes=None), "none")


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@given(mask=cells())
def test_a_mask_is_accepted_and_comes_back(style: MaskStyle, mask: np.ndarray) -> None:
    text = format_mask(mask, style, "waterway")
    labels = ("waterway",)
    assert matches(mask_grammar(style, 6, labels), text)
    assert np.array_equal(parse_mask(text, style, 6, labels), mask.astype(np.uint8))


def test_each_quadrant_is_drawn_by_the_character_of_its_shape() -> None:
    for index, char in enumerate(QUADRANTS):
        upper_left, upper_right, lower_left, lower_right = (bool(index >> bit & 1) for bit in range(4))
        mask = np.array([[upper_left, upper_right], [lower_left, lower_right]])
        assert format_mask(mask, MaskStyle.QUADRANTS, "") == char


def test_the_published_form_of_a_row_is_read() -> None:
    text = "\n".join(["others*21, water*1, others*2", *["others*24"] * 23])
    mask = parse_mask(text, MaskStyle.RUNS, 24, ["water"])
    assert mask.sum() == 1
    assert mask[0, 21] == 1


@pytest.mark.parametrize("style", STYLES)
@given(data=st.data())
def test_a_changed_mask_text_is_refused_or_is_another_mask_text(style: MaskStyle, data: st.DataObject) -> None:
    text = data.draw(mutations(format_mask(data.draw(cells()), style, "water")))
    if matches(mask_grammar(style, 6, ["water"]), text):
        assert format_mask(parse_mask(text, style, 6, ["water"]) == 1, style, "water") == text
    else:
        with pytest.raises(ReplyMalformed) as error:
            parse_mask(text, style, 6, ["water"])
        assert error.value.reply == text


@pytest.mark.parametrize("style", STYLES)
@given(data=st.data())
def test_every_walk_through_a_mask_grammar_is_mask_text(style: MaskStyle, data: st.DataObject) -> None:
    labels = LABELS if style is MaskStyle.RUNS else ("water",)
    text = random_walk(mask_grammar(style, 4, labels), data)
    mask = parse_mask(text, style, 4, labels)
    if style is MaskStyle.QUADRANTS:
        assert format_mask(mask == 1, style, "water") == text
        return
    words = ("others", *labels)
    for line, row in zip(text.split("\n"), mask, strict=True):
        runs = [run.split("*") for run in line.split(", ")]
        assert [word for word, n in runs for _ in range(int(n))] == [words[value] for value in row]
        assert all(a[0] != b[0] for a, b in pairwise(runs))


@pytest.mark.parametrize(
    "text",
    [
        "others*4\nothers*4\nothers*4",  # a row short
        "others*3\nothers*4\nothers*4\nothers*4",  # counts sum to 3
        "others*5\nothers*4\nothers*4\nothers*4",
        "others*2, others*2\nothers*4\nothers*4\nothers*4",  # one run in two
        "others*04\nothers*4\nothers*4\nothers*4",
        "others*4\nothers*4\nothers*4\nothers*4\n",
        "land*4\nothers*4\nothers*4\nothers*4",
        "others*4, water*0\nothers*4\nothers*4\nothers*4",
    ],
)
def test_a_run_mask_that_does_not_add_up_is_malformed(text: str) -> None:
    with pytest.raises(ReplyMalformed, match="4 x 4 mask"):
        parse_mask(text, MaskStyle.RUNS, 4, ["water"])


@pytest.mark.parametrize("label", ["others", "", "a*b", "cars, trucks", "two\nlines"])
def test_a_label_that_mask_text_cannot_hold_is_refused(label: str) -> None:
    with pytest.raises(UsageError, match="cannot be masked"):
        RunMask(24, ("water", label))


# --- choices and counts -----------------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5), st.text(max_size=5))
def test_a_choice_accepts_its_texts_alone(texts: list[str], other: str) -> None:
    grammar = Choice(tuple(texts))
    assert all(matches(grammar, text) for text in texts)
    assume(other not in texts)
    assert not matches(grammar, other)


@given(st.integers(0, 20_000), st.integers(1, 5))
def test_a_count_has_at_most_its_digits_and_no_leading_zero(number: int, max_digits: int) -> None:
    assert matches(Count(max_digits), str(number)) is (number < 10**max_digits)
    assert not matches(Count(max_digits), f"0{number}")


def test_an_empty_text_is_no_count() -> None:
    assert not matches(Count(), "")

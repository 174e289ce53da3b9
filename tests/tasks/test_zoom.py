"""Which questions looking closer can help, and the tool call: byte for byte, and read whatever a model makes of it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsvlm_cli.errors import ReplyMalformed
from rsvlm_cli.tasks.dialect import RSCOVLM, Dialect, ZoomStyle
from rsvlm_cli.tasks.grammar import Count, matches
from rsvlm_cli.tasks.zoom import (
    MIN_SIDE_PX,
    TOOLS,
    Aim,
    ToolCall,
    aim_of,
    call_request,
    format_call,
    named_labels,
    parse_call,
    plain_label,
    zoomed_request,
)

CALL = '<tool_call>\n{"name": "image_zoom_in", "arguments": {"bbox": [100, 200, 300, 500]}}\n</tool_call>'
SIZE = (1000, 800)


@pytest.mark.parametrize(
    ("question", "aim"),
    [
        ("Is there a ship?", Aim.PRESENCE),
        ("Are there any cars in the image?", Aim.PRESENCE),
        ("Can you see a solar panel?", Aim.PRESENCE),
        ("Does the image show water?", Aim.PRESENCE),
        ("Is a swimming pool visible?", Aim.PRESENCE),
        ("Has anything changed?", Aim.PRESENCE),
        ("Is there a boathouse beside the quay?", Aim.PRESENCE),
        ("How many storage tanks are there?", Aim.COUNT),
        ("What is the number of ships?", Aim.COUNT),
        ("Count the ships.", Aim.COUNT),
        ("Is there a ship in the upper left?", Aim.WHOLE),
        ("How many ships are in the north?", Aim.WHOLE),
        ("Are there more cars than trucks?", Aim.WHOLE),
        ("In which part of the image is the bridge?", Aim.WHOLE),
        ("What kind of place is this?", Aim.WHOLE),
        ("How much of the image is water?", Aim.WHOLE),
        ("Is it urban or rural?", Aim.WHOLE),
        ("What colour is the roof of the church?", Aim.DETAIL),
        ("Is the ship moving?", Aim.DETAIL),
    ],
)
def test_what_a_question_wants_is_told_by_its_words(question, aim):
    assert aim_of(question) is aim


def test_named_classes_are_found_in_singular_and_plural_and_not_inside_other_words():
    labels = ("car", "bus", "storage tank", "ship")
    assert named_labels("How many cars and buses?", labels) == ["car", "bus"]
    assert named_labels("Is there a carport?", labels) == []
    assert named_labels("Are there Storage Tanks?", labels) == ["storage tank"]


def test_the_tools_are_described_byte_for_byte():
    # The line of the functions is JSON; the description is what the weights were trained with (seed: RSCoVLM).
    (line,) = [line for line in TOOLS.splitlines() if line.startswith('{"type"')]
    function = json.loads(line)["function"]
    assert json.dumps(json.loads(line)) == line
    assert (function["name"], function["parameters"]["name"]) == ("image_zoom_in", "bbox")
    assert function["parameters"]["type"] == "list[int]"
    assert TOOLS.startswith("# Tools\n\nYou may call one or more functions to assist with the user query.\n\n")
    assert TOOLS.endswith('<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>')


def test_the_turns_are_those_of_the_training_samples():
    first = call_request(RSCOVLM, "What is it?")
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    head = f"<|im_start|>system\n{TOOLS}<|im_end|>\n<|im_start|>user\n{image}"
    asked = "What is it?\nZoom in to the region of interest and answer the question.<|im_end|>\n<|im_start|>assistant\n"
    assert first.prompt == head + asked
    assert matches(first.grammar, CALL)
    second = zoomed_request(RSCOVLM, "How many {x}?", CALL)
    shown = f"<|im_start|>user\n{image}Here's the zoomed-in image. You can complete your task now.<|im_end|>\n"
    assert second.prompt.endswith(f"{CALL}<|im_end|>\n{shown}<|im_start|>assistant\n")
    assert second.prompt.count(RSCOVLM.image_token) == 2
    assert "How many {x}?" in second.prompt
    assert second.grammar == Count()
    assert zoomed_request(RSCOVLM, "Is it red?", CALL).candidates == ("yes", "no")
    assert zoomed_request(RSCOVLM, "What is it?", CALL).grammar is None


def test_the_dialect_says_who_calls_and_an_older_manifest_means_a_search():
    assert Dialect.from_json(json.loads(json.dumps(RSCOVLM.to_json()))) == RSCOVLM
    older = {key: value for key, value in RSCOVLM.to_json().items() if key != "zoom"}
    assert Dialect.from_json(older).zoom is ZoomStyle.SEARCH


def test_a_call_is_read_as_shares_of_the_picture():
    assert parse_call(CALL, SIZE) == pytest.approx((0.1, 0.25, 0.3, 0.625))


@given(st.lists(st.integers(0, 99999), min_size=4, max_size=4))
def test_the_grammar_takes_every_call_and_the_reader_makes_a_box_of_it(numbers):
    text = CALL.replace("100, 200, 300, 500", ", ".join(map(str, numbers)))
    assert matches(ToolCall(), text)
    x1, y1, x2, y2 = parse_call(text, SIZE)
    assert 0 <= x1 < x2 <= 1
    assert 0 <= y1 < y2 <= 1
    assert (x2 - x1) * SIZE[0] >= MIN_SIDE_PX - 1e-6
    assert (y2 - y1) * SIZE[1] >= MIN_SIDE_PX - 1e-6


@given(st.tuples(*[st.integers(0, 400)] * 2), st.tuples(*[st.integers(0, 300)] * 2))
def test_writing_is_the_inverse_of_reading(corner, more):
    box_px = (*corner, corner[0] + MIN_SIDE_PX + more[0], corner[1] + MIN_SIDE_PX + more[1])
    box = tuple(v / side for v, side in zip(box_px, SIZE * 2, strict=True))
    text = format_call(parse_call(format_call(box, SIZE), SIZE), SIZE)
    numbers = json.loads(text.split("\n")[1])["arguments"]["bbox"]
    assert numbers == pytest.approx(box_px, abs=1)
    assert matches(ToolCall(), text)


@pytest.mark.parametrize("at", range(len(CALL)))
def test_the_grammar_takes_no_call_with_a_character_missing(at):
    text = CALL[:at] + CALL[at + 1 :]
    # A number of one digit less is a number, unless it begins with 0.
    assert matches(ToolCall(), text) is (CALL[at].isdigit() and not re.search(r"\b0\d", text))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ("[300, 500, 100, 200]", (0.1, 0.25, 0.3, 0.625)),
        ("[-50, -1, 2000, 900]", (0, 0, 1, 1)),
        ("[ 100.0,200, 300,500 ]", (0.1, 0.25, 0.3, 0.625)),
        ("[500, 400, 500, 400]", (0.486, 0.4825, 0.514, 0.5175)),
        ("[1000, 800, 1000, 800]", (0.972, 0.965, 1, 1)),
        ("[0, 0, 1, 800]", (0, 0, 0.028, 1)),
    ],
)
def test_a_region_is_clamped_ordered_and_never_empty(box, expected):
    text = f"I look closer. {CALL.replace('[100, 200, 300, 500]', box)}"
    assert parse_call(text, SIZE) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "a ship",
        CALL[:-3],
        CALL.replace("image_zoom_in", "rm"),
        CALL.replace(", 500", ""),
        CALL.replace("500", '"a"'),
        CALL.replace("500", "NaN"),
        CALL.replace("500", "1e999"),
        CALL.replace("bbox", "box"),
        "<tool_call>[1, 2]</tool_call>",
        "<tool_call>3</tool_call>",
        "<tool_call>{</tool_call>",
    ],
)
def test_what_is_no_call_is_refused_not_taken_for_the_whole_picture(text):
    with pytest.raises(ReplyMalformed):
        parse_call(text, SIZE)


@pytest.mark.parametrize(
    ("question", "label"),
    [
        ("Is there a ship?", "ship"),
        ("How many storage tanks are there in the image?", "storage tank"),
        ("Count the ships.", "ship"),
        ("Are any buses visible", "bus"),
        ("Does the image contain an airplane?", None),
        ("Is there a red ship?", None),
        ("Is there a ship at the pier?", None),
        ("Are there ships or storage tanks?", None),
        ("What is the ship?", None),
    ],
)
def test_a_question_is_about_a_class_where_it_says_no_more(question, label):
    assert plain_label(question, ["ship", "storage tank", "bus"]) == label

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsvlm_cli.errors import ReplyTruncated
from rsvlm_cli.tasks import detect_change, segment
from rsvlm_cli.tasks.dialect import RSUNIVLM, Granularity
from rsvlm_cli.tasks.grammar import QUADRANTS, format_mask, matches
from tests.fake_engine import WRITTEN, FakeReply, FakeStep, spell


def test_change_detection_shows_two_images_to_the_pixel_expert():
    request = detect_change.request(WRITTEN, "building")
    assert request.expert == Granularity.PIXEL
    assert request.prompt.count(WRITTEN.image_token) == 2
    assert matches(request.grammar, format_mask(np.zeros((24, 24), bool), WRITTEN.mask_style, "building"))


@given(st.lists(st.floats(0.01, 1), min_size=16, max_size=16), st.integers(0, 143))
def test_a_cell_is_as_probable_as_the_shapes_that_set_it(weights, block):
    p = np.array(weights) / sum(weights)
    choices = tuple(zip(QUADRANTS, map(float, p), strict=True))
    characters = ["░"] * 144
    steps = [FakeStep(char, choices=(("░", 1.0),)) for char in characters]
    steps[block] = FakeStep("░", float(p[0]), choices=choices)
    rows = [steps[i : i + 12] for i in range(0, 144, 12)]
    with_newlines = [step for row in rows for step in [*row, FakeStep("\n")]][:-1]
    mask = segment.read(WRITTEN, "water", FakeReply(tuple(with_newlines)))
    y, x = 2 * (block // 12), 2 * (block % 12)
    expected = np.zeros((24, 24))
    for bit, (dy, dx) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        expected[y + dy, x + dx] = sum(p[i] for i in range(16) if i >> bit & 1)
    np.testing.assert_allclose(mask.p_set, expected, atol=1e-6)


def test_a_mask_without_distributions_is_taken_as_decoded():
    cells = np.zeros((24, 24), bool)
    cells[3:9, 5:20] = True
    mask = segment.read(WRITTEN, "water", spell(format_mask(cells, WRITTEN.mask_style, "water")))
    np.testing.assert_array_equal(mask.p_set, cells)


def test_a_run_has_the_probability_of_the_token_that_begins_its_label():
    cells = np.zeros((24, 24), bool)
    cells[1, 4:10] = True
    text = format_mask(cells, RSUNIVLM.mask_style, "water")
    steps, rest = [], text
    while rest:
        word = next((w for w in ("others", "water") if rest.startswith(w)), rest[0])
        steps.append(FakeStep(word, {"others": 0.9, "water": 0.7}.get(word, 1.0)))
        rest = rest[len(word) :]
    mask = segment.read(RSUNIVLM, "water", FakeReply(tuple(steps)))
    np.testing.assert_allclose(mask.p_set, np.where(cells, 0.7, 0.1), atol=1e-6)


def test_a_cut_mask_is_refused_with_the_way_out():
    with pytest.raises(ReplyTruncated, match="--max-tokens"):
        segment.read(WRITTEN, "water", replace(spell("░░░░"), finish="length"))

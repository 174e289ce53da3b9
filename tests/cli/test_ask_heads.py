"""Whether there is one, and how many, of a class that the tower's head knows: the head answers, as `count` does."""

import pytest

from rsvlm_cli import pipeline
from rsvlm_cli.commands.demo import draw_place
from rsvlm_cli.results import Answer, Box
from rsvlm_cli.runtime.bundle import find_bundle, read_bundle
from rsvlm_cli.settings import Settings
from tests.factories import write_geotiff


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return str(write_geotiff(tmp_path_factory.mktemp("scene") / "place.tif", draw_place(12).transpose(2, 0, 1)))


def answer(place, question, **settings):
    report = pipeline.ask([place], [question], Settings(tta=1, zoom="off", **settings))
    (found,) = report.results
    assert isinstance(found, Answer)
    return found, {exchange.prompt for exchange in report.transcript}


@pytest.mark.parametrize("min_score", [0.05, 0.1])
def test_a_known_class_is_counted_as_its_boxes_are(place, min_score):
    found, prompts = answer(place, "How many buildings are there?", min_score=min_score)
    assert prompts == {"[HEAD] building"}
    settings = Settings(tta=1, tile="whole", min_score=min_score)
    boxes = [r for r in pipeline.detect("ground", place, ["building"], settings).results if isinstance(r, Box)]
    assert int(found.text) >= len(boxes) > 0  # boxes that overlap are merged


def test_presence_is_the_heads_to_say_and_what_it_does_not_know_the_decoders(place):
    found, prompts = answer(place, "Is there a building?")
    assert (found.text, prompts) == ("yes", {"[HEAD] building"})
    assert "tower's head" in found.score_method
    for question in ("Is there a lighthouse?", "Is there a red building?", "Is there a building on the left?"):
        found, prompts = answer(place, question)
        assert found.text in ("yes", "no")
        assert not any(prompt.startswith("[HEAD]") for prompt in prompts)


def test_a_window_that_the_head_alone_reads_costs_its_picture_s_tokens(place):
    n_tokens = read_bundle(find_bundle("nano")).manifest.image.tokens
    for most in (5, 9, 12):
        settings = Settings(tta=1, zoom="auto", max_tokens=most * n_tokens)
        found = pipeline.ask([place], ["How many cars are there?"], settings).results[0]
        assert most - 4 < found.cost.windows <= most


@pytest.mark.parametrize(
    ("question", "window", "is_closer"),
    [
        ("How many buildings are there?", None, True),  # six windows of the scale of buildings a side
        ("How many buildings are there?", "0,0,200,200", False),
        ("How many vehicles are there?", None, False),  # of no known scale
        ("Is there a building?", None, False),
        ("How many lighthouses are there?", None, False),
    ],
)
def test_by_itself_a_view_that_is_too_large_for_a_known_class_is_counted_in_windows(place, question, window, is_closer):
    report = pipeline.ask([place], [question], Settings(tta=1, window=window))
    assert (report.results[0].cost.windows > 1) is is_closer


@pytest.mark.parametrize("least", [{"max_hops": 3}, {"max_tokens": 100}])
def test_a_budget_without_a_step_of_windows_leaves_one_look(place, least):
    question = "How many buildings are there?"
    found, _ = answer(place, question)
    (by_itself,) = pipeline.ask([place], [question], Settings(tta=1, **least)).results
    assert (by_itself.text, by_itself.score_method) == (found.text, found.score_method)


def test_a_view_whose_scale_is_not_known_is_looked_at_once(tmp_path):
    plain = str(write_geotiff(tmp_path / "plain.tif", draw_place(12).transpose(2, 0, 1), crs=None))
    assert pipeline.ask([plain], ["How many buildings are there?"], Settings(tta=1)).results[0].cost.windows == 1


def test_a_counted_class_may_have_a_threshold_of_its_own():
    quality = {"best_thresholds": {"detect": 0.4, "ground": 0.2}, "label_thresholds": {"count": {"building": 0.3}}}
    settings = Settings()
    assert settings.least_score(quality, "count", "building") == 0.3
    assert settings.least_score(quality, "count", "ship") == settings.least_score(quality, "detect", "building") == 0.4
    assert settings.least_score(quality, "ground", "building") == 0.2
    assert Settings(min_score=0.7).least_score(quality, "count", "building") == 0.7

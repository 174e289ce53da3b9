"""Symmetries come undone, and a model that looks in all of them answers a turned picture as the picture."""

import numpy as np
import pytest
from PIL import Image

from rsvlm_cli import pipeline
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.runtime.symmetry import ORDER, turn, turn_back
from rsvlm_cli.settings import Settings
from rsvlm_cli.tasks import ask as ask_task
from rsvlm_cli.tasks.dialect import NANO
from tests.factories import draw_scene


def test_the_eight_are_different_and_come_undone():
    cells = np.arange(6).reshape(2, 3)
    turned = [turn(cells, symmetry) for symmetry in ORDER]
    assert sorted(ORDER) == list(range(8))
    assert len({(t.shape, t.tobytes()) for t in turned}) == 8
    for symmetry, t in zip(ORDER, turned, strict=True):
        np.testing.assert_array_equal(turn_back(t, symmetry), cells)


@pytest.fixture
def turned_files(tmp_path):
    pixels = np.moveaxis(draw_scene((128, 128)), 0, -1)
    paths = {}
    for name, symmetry in (("upright", 0), ("turned", 5)):
        paths[name] = str(tmp_path / f"{name}.png")
        Image.fromarray(np.ascontiguousarray(turn(pixels, symmetry))).save(paths[name])
    return paths


def test_masks_turn_with_the_picture(turned_files):
    def p_set(name, tta):
        (mask,) = pipeline.segment(
            turned_files[name], ["water"], Settings(tta=tta, threshold=0.0, tile="whole")
        ).results
        return mask.probability

    np.testing.assert_allclose(turn(p_set("upright", 8), 5), p_set("turned", 8), atol=2e-3)
    assert np.abs(turn(p_set("upright", 1), 5) - p_set("turned", 1)).max() > 0.02


def test_classes_do_not_depend_on_the_turn(turned_files):
    def shares(name, tta):
        (scores,) = pipeline.classify(turned_files[name], [], Settings(tta=tta)).results
        return dict(zip(scores.labels, scores.probabilities, strict=True))

    assert shares("upright", 8) == pytest.approx(shares("turned", 8), abs=2e-3)
    assert shares("upright", 1) != pytest.approx(shares("turned", 1), abs=2e-3)


def test_a_question_of_directions_is_asked_of_the_upright_picture_alone(turned_files):
    def answers(question):
        return [
            pipeline.ask([turned_files["upright"]], [question], Settings(tta=tta)).results[0].score for tta in (1, 8)
        ]

    alone, all_ways = answers("Is there water in the upper left?")
    assert alone == all_ways
    alone, all_ways = answers("Is there water?")
    assert alone != all_ways


@pytest.mark.parametrize(
    ("question", "upright"), [("Is the ship facing north-east?", True), ("Is there a bright hedge at least?", False)]
)
def test_directions_are_words_of_their_own(question, upright):
    assert ask_task.request(NANO, question).upright is upright


def test_what_is_decoded_encodes_one_symmetry(turned_files, monkeypatch):
    seen = []
    encode = Engine.encode_images
    monkeypatch.setattr(Engine, "encode_images", lambda engine, images: seen.append(1) or encode(engine, images))
    pipeline.caption(turned_files["upright"], Settings(tta=4))
    assert len(seen) == 1
    pipeline.classify(turned_files["upright"], [], Settings(tta=4))
    assert len(seen) == 1 + 4

"""Sentences derived from labels."""

import numpy as np
import pytest

from train.data.phrases import change_phrase, composition, counted, joined, number, place_words, plural, preposition


@pytest.mark.parametrize(
    ("label", "many"), [("building", "buildings"), ("baseball diamond", "baseball diamonds"), ("bus", "buses")]
)
def test_plurals_are_those_of_the_dictionary(label: str, many: str) -> None:
    assert plural(label) == many


def test_counts_are_words_up_to_twenty_and_digits_beyond() -> None:
    assert (number(0), number(13), number(20), number(21)) == ("no", "thirteen", "twenty", "21")
    assert counted("airplane", 1, article=True) == "an airplane"
    assert counted("ship", 3) == "three ships"


def test_a_list_ends_with_and() -> None:
    assert joined(["a ship", "two harbors", "a bridge"]) == "a ship, two harbors and a bridge"


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([(0, 0, 20, 20)], "in the upper left"),
        ([(0, 0, 20, 20), (100, 5, 120, 20), (230, 0, 250, 20)], "at the top"),
        ([(230, 10, 250, 30), (230, 200, 250, 220)], "on the right"),
        ([(120, 120, 140, 140)], "in the middle"),
        ([(120, 230, 140, 250)], "at the bottom"),
        ([(0, 0, 20, 20), (230, 230, 250, 250)], ""),
    ],
)
def test_a_place_is_named_only_if_every_box_is_there(boxes: list[tuple[int, int, int, int]], words: str) -> None:
    assert place_words(boxes, (256, 256)) == words


def test_change_phrases_agree_in_number_and_direction() -> None:
    rng = np.random.default_rng(0)
    one = {change_phrase(rng, "airplane", 1, appeared=False, where="") for _ in range(200)}
    many = {change_phrase(rng, "building", 2, appeared=True, where="at the top") for _ in range(200)}
    assert "an airplane has left" in one
    assert not any(" have " in text or "airplanes" in text for text in one)
    assert {"two buildings have been built at the top", "two new buildings appear at the top"} <= many
    assert not any(" has " in text or "demolished" in text for text in many)


def test_a_composition_names_the_setting_with_its_own_preposition() -> None:
    texts = {composition(np.random.default_rng(k), "farmland", ["a river"], {"building": 3}) for k in range(40)}
    assert "a river crosses farmland with three buildings" in texts
    assert [preposition(s) for s in ("farmland", "an airport", "an airport apron", "open land")] == [
        "in",
        "at",
        "on",
        "on",
    ]

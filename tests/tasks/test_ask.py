import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsvlm_cli.tasks import ask
from rsvlm_cli.tasks.cells import REACHES
from rsvlm_cli.tasks.dialect import NANO, RSUNIVLM
from rsvlm_cli.tasks.grammar import Count, matches
from tests.fake_engine import FakeReply, FakeStep, spell
from train.data.phrases import count_question


@pytest.mark.parametrize(
    ("question", "yes_no"),
    [
        ("Is there a ship?", True),
        ("are there more than 10 cars", True),
        ("Does the image show water?", True),
        ("Is it urban or rural?", False),
        ("How many ships are there?", False),
        ("What is it?", False),
        ("Island in the middle?", False),
        ("", False),
    ],
)
def test_a_question_is_yes_or_no_by_its_first_word_unless_it_offers_a_choice(question, yes_no):
    assert ask.is_yes_no(question) is yes_no


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("How many ships are there?", True),
        ("In this image, how many ships are there?", True),
        ("What number of ships is there?", True),
        ("What is the number of ships?", True),
        ("Count the ships.", True),
        ("please count all ships", True),
        ("Which county is this?", False),
        ("What counts as a ship?", False),
        ("", False),
    ],
)
def test_a_question_wants_a_count_by_its_words(question, count):
    assert ask.is_count(question) is count


def test_every_wording_of_a_count_that_is_taught_is_answered_by_a_number():
    for seed in range(20):
        question = count_question("ship", np.random.default_rng(seed))
        assert ask.request(RSUNIVLM, question).grammar == Count(), question
        assert ask.request(NANO, question).choices == REACHES, question


def test_yes_no_is_scored_over_the_two_answers_and_the_shares_sum_to_one():
    answer = ask.read_yes_no("Is it?", [-3.0, -3.0 - 1.0986122886681098])
    assert answer.text == "yes"
    assert answer.score == pytest.approx(0.75)
    assert ask.request(NANO, "Is it?").candidates == ("yes", "no")


def test_a_count_is_constrained_to_whole_numbers_and_scored_by_the_product_of_its_tokens():
    request = ask.request(RSUNIVLM, "How many planes are there?")
    assert matches(request.grammar, "12")
    assert not matches(request.grammar, "twelve")
    reply = FakeReply((FakeStep("1", 0.5), FakeStep("2", 0.4), FakeStep("", 0.5)))
    answer = ask.read("How many planes are there?", reply)
    assert answer.text == "12"
    assert answer.score == pytest.approx(0.1)


def test_an_open_question_is_free_text_scored_by_the_mean_token_probability():
    assert ask.request(NANO, "What {is} this?").grammar is None
    answer = ask.read("What is this?", FakeReply((FakeStep("a "), FakeStep("port ", 0.25)), finish="length"))
    assert (answer.text, answer.truncated) == ("a port", True)
    assert answer.score == pytest.approx(0.5)


def test_an_open_question_keeps_braces():
    assert "What {is} this?" in ask.request(NANO, "What {is} this?").prompt


@given(st.integers(0, 9999))
def test_the_count_grammar_takes_every_number_as_python_writes_it(number):
    assert matches(Count(), str(number))
    assert not matches(Count(), f"0{number}")


def test_empty_reply_has_no_score():
    assert ask.read("What?", spell("")).score is None


def test_a_count_is_the_median_where_every_number_is_one_token():
    assert ask.request(NANO, "How many planes are there?").choices == REACHES
    shares = np.zeros(101)
    shares[[3, 4, 10, 11]] = 0.3, 0.22, 0.24, 0.24
    answer = ask.read_number("How many planes are there?", shares)
    assert (answer.text, answer.score) == ("4", pytest.approx(0.22))

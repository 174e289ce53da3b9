"""How often each set is drawn: shares, repetition, subsampling, temperature, and sides of the picture."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from rsvlm_cli.tasks.dialect import Granularity
from tests.train.recipes import TINY, tiny_codec, tiny_corpus
from train.data.mixture import Mixture
from train.data.records import Record
from train.data.shares import Mix
from train.data.views import ViewLaw
from train.steps import Share, Steps


def test_a_mix_weighs_sets_by_what_is_left_of_them_times_their_repetitions():
    mix = Mix.parse(["a*6", "b%10", "c"])
    kept = {name: len(mix.keep(name, list(range(n)), 1)) for name, n in (("a", 100), ("b", 1000), ("c", 300))}
    assert kept == {"a": 100, "b": 100, "c": 300}
    assert mix.shares(kept) == pytest.approx({"a": 0.6, "b": 0.1, "c": 0.3})


def test_a_temperature_draws_small_sets_more_often():
    sizes = {"small": 100, "large": 900}
    shares = Mix.parse(["small", "large"], temperature=2.0).shares(sizes)
    assert shares == pytest.approx({"small": 0.25, "large": 0.75})  # roots of 1 and 9
    assert Mix(weights={"small": 1, "large": 3, "gone": 9}, temperature=1).shares(sizes)["small"] == 0.25


def test_a_subsample_is_the_same_for_a_seed_in_its_order_and_never_empty():
    mix, records = Mix.parse(["set%5"]), list(range(200))
    first = mix.keep("set", records, 1)
    assert first == mix.keep("set", records, 1) == sorted(first)
    assert len(first) == 10
    assert first != mix.keep("set", records, 2)
    assert len(mix.keep("set", records[:3], 1)) == 1


@pytest.mark.parametrize("entry", ["a**2", "a*", "%10", "a%1o", "a b", ""])
def test_a_mix_entry_that_is_neither_is_named(entry):
    with pytest.raises(ValueError, match="wanted name, name\\*times or name%percent"):
        Mix.parse([entry])


@pytest.mark.parametrize("faulty", [{}, {"weights": {"a": 1}, "times": {"a": 1}}, {"weights": {"a": -1}}])
def test_a_mix_that_says_nothing_or_too_much_is_refused(faulty):
    with pytest.raises(ValueError, match=r"either weights or mix|negative"):
        Mix(**faulty)


def test_sets_are_drawn_as_often_as_their_shares_say():
    class Bare:
        """A corpus whose views are their records."""

        def __init__(self):
            rest = {"place": "", "split": "train", "images": ()}
            self.records = {k: [Record(id=str(n), source=k, **rest) for n in range(10)] for k in ("a", "b")}

        def view(self, name, record, law, rng):
            return record

    mixture = Mixture(Bare(), Mix(weights={"a": 3, "b": 1}), seed=1)
    drawn = Counter(mixture.view(step, place, ViewLaw())[0].source for step in range(100) for place in range(20))
    assert drawn["a"] / 2000 == pytest.approx(0.75, abs=0.04)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny_corpus(tmp_path_factory.mktemp("sets"))


def test_a_granularity_without_weight_is_never_asked_and_each_step_draws_one_side(corpus):
    stage = replace(TINY.stages[1], granularities=(0.0, 1.0, 1.0), image_sizes=(24, 48), steps=8, batch=2)
    recipe = replace(TINY, stages=(stage,))
    steps = Steps(recipe, stage, corpus, recipe.dialect, tiny_codec(corpus), Share())
    batches = [steps[k][0] for k in range(8)]
    assert {packed.granularity for batch in batches for packed in batch.packed} == {
        Granularity.REGION,
        Granularity.PIXEL,
    }
    assert {tuple(batch.pixels.shape[2:]) for batch in batches} == {(24, 24), (48, 48)}
    for batch in batches:
        side = batch.pixels.shape[-1] // TINY.vision.patch_size
        assert batch.targets.coverage.shape[-1] == 2 * side
        for packed in batch.packed:
            assert int((packed.ids == -200).sum()) == len(packed.images) * (side**2 + 1)
    assert np.array_equal(steps[3][0].pixels, batches[3].pixels)


def test_a_side_that_is_no_multiple_of_a_patch_is_refused():
    with pytest.raises(ValueError, match="pictures of 50 px, wanted multiples of 4 up to 48"):
        replace(TINY, stages=(replace(TINY.stages[0], image_sizes=(24, 50)),))

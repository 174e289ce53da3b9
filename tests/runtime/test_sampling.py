import numpy as np
import pytest

from rsvlm_cli.errors import UsageError
from rsvlm_cli.runtime.sampling import Sampler, Sampling, log_softmax

LOGITS = np.array([0.5, 2.0, -1.0, 1.9, 0.0], np.float32)
OUT_OF_RANGE = {"temperature": -1.0, "top_k": -1, "top_p": 0.0, "repetition_penalty": 0.0}


def draw(sampling: Sampling, n: int, ids: np.ndarray | None = None) -> list[int]:
    sampler = Sampler(sampling, 1.0)
    return [sampler.choose(LOGITS, ids)[0] for _ in range(n)]


def test_greedy_takes_the_most_probable() -> None:
    assert draw(Sampling(), 3) == [1, 1, 1]


def test_greedy_under_a_constraint_takes_the_most_probable_admissible() -> None:
    index, logprobs = Sampler(Sampling(), 1.0).choose(LOGITS, np.array([0, 2, 4]))
    assert index == 0
    wanted = LOGITS[[0, 2, 4]] - np.log(np.exp(LOGITS[[0, 2, 4]]).sum())
    np.testing.assert_allclose(logprobs, wanted, rtol=1e-6)


def test_a_seed_makes_the_draw_the_same_again() -> None:
    first, again = (draw(Sampling(temperature=1.0, seed=5), 50) for _ in range(2))
    assert first == again
    assert draw(Sampling(temperature=1.0, seed=6), 50) != first


def test_draws_follow_the_softmax_at_the_temperature() -> None:
    drawn = np.bincount(draw(Sampling(temperature=0.7, seed=0), 20_000), minlength=5) / 20_000
    np.testing.assert_allclose(drawn, np.exp(log_softmax(LOGITS / 0.7)), atol=0.015)


def test_top_k_draws_from_the_k_most_probable() -> None:
    assert set(draw(Sampling(temperature=5.0, top_k=2, seed=0), 200)) == {1, 3}


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, {1}), (0.45, {1, 3}), (0.8, {1, 3}), (1.0, {0, 1, 2, 3, 4})])
def test_top_p_draws_from_the_fewest_that_reach_it(top_p: float, kept: set[int]) -> None:
    # Probabilities in falling order: 0.43, 0.39, 0.10, 0.06, 0.02.
    assert set(draw(Sampling(temperature=1.0, top_p=top_p, seed=0), 2000)) == kept


def test_the_penalty_counts_generated_tokens_once_and_by_the_sign() -> None:
    sampler = Sampler(Sampling(), 2.0)
    assert sampler.choose(LOGITS, None)[0] == 1
    sampler.record(1)
    sampler.record(1)
    assert sampler.choose(LOGITS, None)[0] == 3  # 2.0 / 2 lies below 1.9
    sampler.record(3)
    assert sampler.choose(LOGITS, None)[0] == 1  # 2.0 / 2 against 1.9 / 2
    negative = Sampler(Sampling(), 2.0)
    negative.record(0)
    assert negative.choose(np.array([-1.0, -1.5], np.float32), None)[0] == 1  # -1.0 becomes -2.0


def test_the_probability_is_the_models_own_whatever_the_penalty() -> None:
    sampler = Sampler(Sampling(temperature=3.0, seed=0), 2.0)
    sampler.record(1)
    np.testing.assert_allclose(sampler.choose(LOGITS, None)[1], log_softmax(LOGITS))


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE.items())
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name.replace('_', '.').split('.')[0]}.*wanted"):
        Sampling(**{name: value})

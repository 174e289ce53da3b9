"""Confidence intervals: images of one place are not independent, so places are drawn, not images."""

from collections.abc import Callable, Sequence

import numpy as np


def bootstrap_by_place(
    places: Sequence[str], score: Callable[[np.ndarray], float], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return a 95 % percentile interval of a score under drawing places with replacement.

    Args:
        places: of each item.
        score: takes indices of items (repeats included) and returns the score over them.
        draws: how many.
        seed: of the draws.

    Source: cluster bootstrap, Cameron, Gelbach and Miller 2008.
    """
    groups: dict[str, list[int]] = {}
    for i, place in enumerate(places):
        groups.setdefault(place, []).append(i)
    members = [np.array(group) for group in groups.values()]
    rng = np.random.default_rng(seed)
    values = [
        score(np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])) for _ in range(draws)
    ]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)

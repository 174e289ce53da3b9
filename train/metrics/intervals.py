"""Confidence intervals: images of one place are not independent, so places are drawn, not images."""

from collections.abc import Callable, Sequence

import numpy as np

Score = Callable[[np.ndarray], float]
"""Takes how often each item is counted, ``(n,)`` int, and returns the score over them; nan where it has no value."""

MIN_PLACES = 3
"""Of fewer places nothing can be drawn; then images are drawn, and the interval is too narrow: say so."""


def draw_units(places: Sequence[str]) -> Sequence[str]:
    """Return each item's unit to draw by: its place, or itself where there are too few places."""
    return places if len(set(places)) >= MIN_PLACES else [str(k) for k in range(len(places))]


def drawn_scores(places: Sequence[str], score: Score, *, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Return a score under drawing places with replacement, ``(draws,)``.

    Args:
        places: of each item.
        score: of the counted items.
        draws: how many.
        seed: of the draws.

    Source: cluster bootstrap, Cameron, Gelbach and Miller 2008.
    """
    units, unit_of = np.unique(np.asarray(draw_units(places)), return_inverse=True)
    rng = np.random.default_rng(seed)
    shares = np.full(len(units), 1 / len(units))
    return np.array([score(rng.multinomial(len(units), shares)[unit_of]) for _ in range(draws)])


def interval_of(drawn: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of drawn scores ``(draws,)``; nan are left out."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return (float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, which stays honest at 0 and 1.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22.
    """
    z2 = 1.959964**2
    centre, spread = (hits + z2 / 2) / (n + z2), (z2 * (hits * (n - hits) / n + z2 / 4)) ** 0.5 / (n + z2)
    return max(0.0, centre - spread), min(1.0, centre + spread)

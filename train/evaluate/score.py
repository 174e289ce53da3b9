"""A score that says how sure it is, and what one gets without looking."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from train.metrics import intervals

GRID = np.round(np.arange(0, 1, 0.025), 3)
"""Thresholds that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one set gives for one metric.

    Attributes:
        data: the set.
        places: of each item.
        score: over counted items.
        baseline: what one gets without looking, or None.
    """

    data: str
    places: Sequence[str]
    score: intervals.Score
    baseline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One figure.

    Attributes:
        task: the subcommand that it judges.
        metric: what was measured.
        data: the sets; of several the figure is the mean of theirs.
        n, n_places: items, and places that they lie in.
        value: the figure.
        interval: 95 %, drawn by place; of fewer than three places by image, which is too narrow.
        drawn_by: ``place`` or ``image``.
        baseline: what one gets without looking, or None where nothing comes near.
        baseline_is: how.
        less_is_better: of errors.
        threshold: at which the figure holds: the one that the command takes by itself.
        best_threshold: the best of `GRID` on these very images.
        value_tuned: the figure where each half of the places is cut at the best threshold of the other half.
        parts: of several sets, each one's own.
    """

    task: str
    metric: str
    data: tuple[str, ...]
    n: int
    n_places: int
    value: float
    interval: tuple[float, float]
    drawn_by: str
    baseline: float | None = None
    baseline_is: str = ""
    less_is_better: bool = False
    threshold: float | None = None
    best_threshold: float | None = None
    value_tuned: float | None = None
    parts: tuple["Score", ...] = ()

    @property
    def clears_baseline(self) -> bool:
        """Whether all of the interval is better than not looking."""
        if self.baseline is None or math.isnan(self.value):
            return not math.isnan(self.value)
        low, high = self.interval
        return high < self.baseline if self.less_is_better else low > self.baseline

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; what does not apply is left out."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["parts"] = [part.to_json() for part in self.parts]
        # A score of 0 is told; False and nothing are not.
        told = {key: plain(v) for key, v in values.items() if v or (v is not False and v == 0)}
        return told | {"clears_baseline": self.clears_baseline}


def plain(value: object) -> object:
    """Return a value as JSON knows it: four decimals, nan as None, in lists and mappings too."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


def score_of(task: str, metric: str, samples: Sequence[Sample], baseline_is: str = "", **more: Any) -> Score:
    """Return the mean of the sets' scores with the interval of that mean.

    Args:
        task: as `Score`.
        metric: as `Score`.
        baseline_is: as `Score`.
        samples: one a set, each of at least one item.
        more: further fields of `Score`.
    """
    drawn = [intervals.drawn_scores(s.places, s.score, seed=seed) for seed, s in enumerate(samples)]
    parts = tuple(_part(task, metric, s, baseline_is, d, more) for s, d in zip(samples, drawn, strict=True))
    if len(parts) == 1:
        return parts[0]
    baselines = [part.baseline for part in parts if part.baseline is not None]
    return Score(
        task=task,
        metric=metric,
        data=tuple(sample.data for sample in samples),
        n=sum(part.n for part in parts),
        n_places=sum(part.n_places for part in parts),
        value=_mean([part.value for part in parts]),
        interval=intervals.interval_of(np.array([_mean(values) for values in zip(*drawn, strict=True)])),
        drawn_by="image" if any(part.drawn_by == "image" for part in parts) else "place",
        baseline=_mean(baselines) if baselines else None,
        baseline_is=baseline_is,
        parts=parts,
        **more,
    )


def _part(task: str, metric: str, sample: Sample, baseline_is: str, drawn: np.ndarray, more: dict[str, Any]) -> Score:
    n_places = len(set(sample.places))
    return Score(
        task=task,
        metric=metric,
        data=(sample.data,),
        n=len(sample.places),
        n_places=n_places,
        value=sample.score(np.ones(len(sample.places), int)),
        interval=intervals.interval_of(drawn),
        drawn_by="place" if n_places >= intervals.MIN_PLACES else "image",
        baseline=sample.baseline,
        baseline_is=baseline_is,
        **more,
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def mean_of(values: Sequence[float] | np.ndarray) -> intervals.Score:
    """Return the score that is the mean of a value an item."""
    each = np.asarray(values, float)
    return lambda counted: float(counted @ each / counted.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one set gives at every threshold, as counts that add up over items.

    Attributes:
        data, places, baseline: as `Sample`.
        counts: ``(T, n, ...)``, T as in `thresholds_with`.
        read: from summed counts to the score.
    """

    data: str
    places: Sequence[str]
    counts: np.ndarray
    read: Callable[[np.ndarray], float]
    baseline: float | None = None

    def total(self, at: int, chosen: np.ndarray) -> np.ndarray:
        """Sum the counts of chosen items ``(n,)`` at a threshold."""
        return np.asarray(np.tensordot(chosen, self.counts[at], 1))

    def sample(self, at: int) -> Sample:
        """Return what it gives at one threshold."""
        score: intervals.Score = lambda counted: self.read(self.total(at, counted))  # noqa: E731
        return Sample(data=self.data, places=self.places, score=score, baseline=self.baseline)

    def half(self, which: int) -> np.ndarray:
        """Return which items lie in a half of the places, ``(n,)`` int."""
        units = intervals.draw_units(self.places)
        order = {unit: k for k, unit in enumerate(dict.fromkeys(units))}
        return np.array([order[unit] % 2 == which for unit in units], int)


def thresholds_with(used: float) -> np.ndarray:
    """Return the thresholds that are tried and the one that is used, rising."""
    return np.union1d(GRID, [used])


def swept_score(task: str, metric: str, sweeps: Sequence[Sweep], used: float, baseline_is: str = "") -> Score:
    """Return the score at the threshold in use, beside what tuning it would give.

    Args:
        task: as `Score`.
        metric: as `Score`.
        baseline_is: as `Score`.
        sweeps: one a set.
        used: the threshold in use.
    """
    grid = thresholds_with(used)

    def best(halves: Sequence[np.ndarray]) -> int:
        means = [
            _mean([sweep.read(sweep.total(at, half)) for sweep, half in zip(sweeps, halves, strict=True)])
            for at in range(len(grid))
        ]
        return int(np.argmax(np.nan_to_num(means, nan=-1.0)))

    halves = [[sweep.half(which) for sweep in sweeps] for which in (0, 1)]
    other = [best(halves[1]), best(halves[0])]
    tuned = _mean(
        [sweep.read(sum(sweep.total(other[h], halves[h][k]) for h in (0, 1))) for k, sweep in enumerate(sweeps)]  # type: ignore[arg-type]
    )
    at = int(np.flatnonzero(grid == used)[0])
    score = score_of(task, metric, [sweep.sample(at) for sweep in sweeps], baseline_is)
    everything = [np.ones(len(sweep.places), int) for sweep in sweeps]
    return replace(score, threshold=float(used), best_threshold=float(grid[best(everything)]), value_tuned=tuned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Scored answers of which we know whether they are right, for the reliability table.

    Attributes:
        what: such as ``yes or no``.
        places: of each answer.
        scores: ``(n,)`` in [0, 1].
        right: ``(n,)`` bool.
    """

    what: str
    places: Sequence[str]
    scores: np.ndarray
    right: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScores:
    """All that a row gave.

    Attributes:
        scores: the first is what the row is about; the first of each task decides whether that task is learnt.
        by_class: figures of each class word.
        points: for calibration.
    """

    scores: tuple[Score, ...]
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)
    points: tuple[Points, ...] = ()

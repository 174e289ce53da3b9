"""Score a bundle on a suite, and say what came of it: rows, reliability, and what the model has not learnt."""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rsvlm_cli.runtime.bundle import Bundle, find_bundle, read_bundle, write_manifest
from rsvlm_cli.settings import Settings
from train.evaluate import boxes, grounding, masks, questions, texts
from train.evaluate.bench import Bench, Tally, prepare_sets
from train.evaluate.score import Points, RowScores, Score, plain
from train.evaluate.suite import Kind, Row, Side, Suite
from train.metrics import intervals
from train.metrics.calibration import Bin, calibration_error, reliability

log = logging.getLogger(__name__)

KINDS: dict[Kind, Callable[[Bench, Row], RowScores]] = {
    Kind.SCENE: texts.scene,
    Kind.ANSWERS: texts.answers,
    Kind.CAPTION: texts.caption,
    Kind.DESCRIBE: texts.describe,
    Kind.PRESENCE: questions.presence,
    Kind.COUNT: questions.count,
    Kind.DETECT: boxes.detect,
    Kind.GROUND: grounding.ground,
    Kind.SEGMENT: masks.segment,
    Kind.CHANGE: masks.change,
}

Progress = Callable[[str, int, int], None]
"""Is told a row's name, and how many of how many requests are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRow:
    """A row and what it gave: no score where none of its sets is there."""

    row: Row
    scores: tuple[Score, ...]
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def wanted(self) -> tuple[float | None, float | None]:
        """What the first score must reach at least, and what it aims at, as figures."""
        if not self.row.times_baseline:
            return self.row.at_least, self.row.aim
        baseline = self.scores[0].baseline if self.scores else None
        least, aim = (
            None if factor is None or baseline is None else factor * baseline
            for factor in (self.row.at_least, self.row.aim)
        )
        return least, aim

    @property
    def reached(self) -> str:
        """``aim``, ``at least`` or ``no``; empty where nothing is wanted or nothing was scored."""
        if not self.scores or math.isnan(self.scores[0].value):
            return ""
        score, (least, aim) = self.scores[0], self.wanted
        sign = -1 if score.less_is_better else 1
        for word, limit in (("aim", aim), ("at least", least)):
            if limit is not None and sign * score.value >= sign * limit:
                return word
        return "no" if least is not None or aim is not None else ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        least, aim = self.wanted
        return {
            "name": self.row.name,
            "kind": self.row.kind.value,
            "sets": list(self.row.sets),
            "at_least": least,
            "aim": aim,
            "reached": self.reached,
            "scores": [score.to_json() for score in self.scores],
            "by_class": plain(self.by_class),
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How far the scores of one kind of answer can be believed."""

    what: str
    n: int
    error: float
    interval: tuple[float, float]
    bins: tuple[Bin, ...]

    @classmethod
    def of(cls, points: Points) -> "Reliability":
        """Count answers by their score."""

        def error(counted: np.ndarray) -> float:
            return calibration_error(points.scores, points.right, counted)

        drawn = intervals.drawn_scores(points.places, error)
        return cls(
            what=points.what,
            n=len(points.scores),
            error=error(np.ones(len(points.scores), int)),
            interval=intervals.interval_of(drawn),
            bins=tuple(reliability(points.scores, points.right)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A suite's scores for one bundle.

    Attributes:
        suite, split, limit: what was asked.
        bundle: who answered; its manifest as it was.
        rows: in the suite's order.
        reliabilities: of every kind of scored answer.
        tally: of all requests.
        faults: of each set that could not be used, why.
        seconds: wall time.
    """

    suite: str
    split: Side
    limit: int | None
    bundle: Bundle
    rows: tuple[ScoredRow, ...]
    reliabilities: tuple[Reliability, ...]
    tally: Tally
    faults: dict[str, str]
    seconds: float

    @property
    def not_learnt(self) -> list[str]:
        """Tasks of which no row clears its baseline: the first score of a task in a row speaks for it."""
        cleared: dict[str, bool] = {}
        for row in self.rows:
            first = {score.task: score for score in reversed(row.scores) if score.task}
            for task, score in first.items():
                if score.n:
                    cleared[task] = cleared.get(task, False) or score.clears_baseline
        return [task for task, clear in cleared.items() if not clear]

    def quality(self) -> dict[str, Any]:
        """Return the manifest's ``quality``; docs/bundle-format.md explains it."""
        scores = [
            {
                "task": score.task,
                "data": " + ".join(score.data),
                "n": score.n,
                "metric": score.metric,
                "value": score.value,
                "interval": list(score.interval),
                "blind": score.baseline,
                "blind_is": score.baseline_is,
            }
            for row in self.rows
            for score in row.scores[:1]
            if score.n and score.task
        ]
        return {
            "suite": self.suite,
            "split": self.split,
            "scores": plain(scores),
            "not_learnt": self.not_learnt,
        } | {key: value for key, value in (self.bundle.manifest.quality or {}).items() if key.endswith("_thresholds")}

    def to_json(self) -> dict[str, Any]:
        """Return all of it, for ``--json``."""
        return {
            "suite": self.suite,
            "split": self.split,
            "limit": self.limit,
            "bundle": {"name": self.bundle.manifest.name, "manifest_sha256": self.bundle.sha256},
            "rows": [row.to_json() for row in self.rows],
            "calibration": [plain(asdict(one)) for one in self.reliabilities],
            "replies": asdict(self.tally),
            "left_out": self.faults,
            "quality": self.quality(),
            "seconds": round(self.seconds, 1),
        }


def evaluate(
    suite: Suite,
    root: Path,
    settings: Settings,
    *,
    split: Side | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a bundle on raw data sets.

    Args:
        suite: what is asked.
        root: the folder of the data sets, in their publishers' layouts.
        settings: which bundle, on what; thresholds and tiles are those of the commands.
        split: which side of the split is scored, instead of the suite's.
        limit: at most so many requests a row and set, evenly chosen.
        progress: is told what is being done.

    Raises:
        InputError: if no set can be used.
        BundleError: if the bundle cannot.
    """
    start = time.perf_counter()
    bundle, side = read_bundle(find_bundle(settings.model)), split or suite.split
    with tempfile.TemporaryDirectory(prefix="rsvlm-eval-") as workspace:
        folders, records, faults = prepare_sets(suite.sets, root, Path(workspace), side)
        for name, fault in faults.items():
            log.warning("%s is left out: %s", name, fault)
        bench = Bench(bundle=bundle, settings=settings, folders=folders, records=records, limit=limit, tally=Tally())
        rows, points = _score_rows(suite, bench, progress)
    return Evaluation(
        suite=suite.name,
        split=side,
        limit=limit,
        bundle=bundle,
        rows=rows,
        reliabilities=tuple(Reliability.of(one) for one in joined(points)),
        tally=bench.tally,
        faults=faults,
        seconds=time.perf_counter() - start,
    )


def joined(points: Sequence[Points]) -> list[Points]:
    """Put the answers of one kind together, those of all rows and sets; kinds without any are left out."""
    by_kind: dict[str, list[Points]] = {}
    for one in points:
        if len(one.scores):
            by_kind.setdefault(one.what, []).append(one)
    return [
        Points(
            what=what,
            places=[f"{k} {place}" for k, one in enumerate(many) for place in one.places],
            scores=np.concatenate([one.scores for one in many]),
            right=np.concatenate([one.right for one in many]),
        )
        for what, many in by_kind.items()
    ]


def stamp_quality(evaluation: Evaluation) -> Bundle:
    """Write what was found into the manifest of the bundle that was asked, and return the bundle as it is now."""
    bundle = evaluation.bundle
    return write_manifest(bundle.path, replace(bundle.manifest, quality=evaluation.quality()))


def _score_rows(suite: Suite, bench: Bench, progress: Progress | None) -> tuple[tuple[ScoredRow, ...], list[Points]]:
    """Score every row but those about the replies, which need the tally of all others, and then these."""
    done: dict[int, ScoredRow] = {}
    points: list[Points] = []
    for k, row in enumerate(suite.rows):
        here = replace(row, sets=tuple(name for name in row.sets if name in bench.records))
        if row.kind is Kind.REPLIES or not here.sets:
            continue
        start = time.perf_counter()
        told = replace(bench, progress=None if progress is None else _telling(progress, row.name))
        found = KINDS[row.kind](told, here)
        points += found.points
        done[k] = ScoredRow(row=row, scores=found.scores, by_class=found.by_class, seconds=time.perf_counter() - start)
        log.info("%s: %.3f after %.0f s", row.name, found.scores[0].value, done[k].seconds)
    rows = [
        done.get(k) or ScoredRow(row=row, scores=(replies(bench),) if row.kind is Kind.REPLIES else ())
        for k, row in enumerate(suite.rows)
    ]
    return tuple(rows), points


def _telling(progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)


def replies(bench: Bench) -> Score:
    """Return the share of requests whose reply broke its grammar, of all rows."""
    tally = bench.tally
    return Score(
        task="",
        metric="share of requests",
        data=tuple(bench.records),
        n=tally.asked,
        n_places=len({(name, r.place) for name, records in bench.records.items() for r in records}),
        value=tally.broken / tally.asked if tally.asked else float("nan"),
        interval=intervals.wilson_interval(tally.broken, tally.asked) if tally.asked else (float("nan"),) * 2,
        drawn_by="request",
        less_is_better=True,
    )

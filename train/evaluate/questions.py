"""Rows of questions whose answer the labels give exactly: is there one, and how many."""

from collections import defaultdict
from functools import partial

import numpy as np

from rsvlm_cli import pipeline
from rsvlm_cli.results import Answer
from train.data.phrases import an, plural
from train.data.records import Record
from train.evaluate.bench import Bench
from train.evaluate.score import Points, RowScores, Sample, mean_of, score_of
from train.evaluate.suite import Row
from train.evaluate.texts import text_of


def presence(bench: Bench, row: Row) -> RowScores:
    """Accuracy of yes and no, of each class word as many questions with one answer as with the other."""
    samples, points, by_class = [], [], defaultdict(list)
    for name in row.sets:
        pairs = bench.sample(balanced_questions(bench.records[name], row.labels))
        asked = [
            (record, label, yes) for label, *sides in pairs for record, yes in zip(sides, (True, False), strict=True)
        ]
        right, sure = np.zeros(len(asked), bool), np.full(len(asked), 0.5)
        for k, (record, label, yes) in enumerate(bench.walk(asked)):
            report = bench.request(
                partial(pipeline.ask, [bench.path(record)], [f"Is there {an(label)}?"], bench.settings)
            )
            answer = report.results[0] if report else None
            if isinstance(answer, Answer):
                right[k], sure[k] = answer.text == ("yes" if yes else "no"), answer.score or 0.5
            by_class[label].append(float(right[k]))
        if asked:
            places = [record.place for record, *_ in asked]
            samples.append(Sample(data=name, places=places, score=mean_of(right), baseline=0.5))
            points.append(Points(what="yes or no", places=places, scores=sure, right=right))
    return RowScores(
        scores=(score_of("ask", "accuracy, balanced", samples, "always yes"),),
        by_class={label: {"accuracy": float(np.mean(v)), "n": len(v)} for label, v in sorted(by_class.items())},
        points=tuple(points),
    )


def balanced_questions(records: list[Record], labels: tuple[str, ...] = ()) -> list[tuple[str, Record, Record]]:
    """Return ``class word, a record that shows it, one that does not``, evenly chosen of whichever side has more.

    Args:
        records: what may be asked about: words in which a record is complete.
        labels: the words, or none for all.
    """
    seen: defaultdict[str, tuple[list[Record], list[Record]]] = defaultdict(lambda: ([], []))
    for record in records:
        here = {item.label for item in record.objects} | {label for label, *_ in record.points}
        for label in record.complete:
            if not labels or label in labels:
                seen[label][label not in here].append(record)
    pairs = []
    for label, (with_it, without) in sorted(seen.items()):
        n = min(len(with_it), len(without))
        pairs += [(label, with_it[k * len(with_it) // n], without[k * len(without) // n]) for k in range(n)]
    return pairs


def count_of(record: Record, label: str) -> int:
    """Return how many things of a class a record shows, boxes and points."""
    return [*(item.label for item in record.objects), *(point[0] for point in record.points)].count(label)


def count(bench: Bench, row: Row) -> RowScores:
    """Mean absolute error of counts; a reply that is no number counts as none."""
    (label,) = row.labels
    samples, exact = [], []
    for name in row.sets:
        records = bench.sample([record for record in bench.records[name] if label in record.complete])
        if not records:
            continue
        truth, said = np.array([count_of(record, label) for record in records], float), []
        for record in bench.walk(records):
            question = f"How many {plural(label)} are there?"
            text = text_of(bench.request(partial(pipeline.ask, [bench.path(record)], [question], bench.settings)))
            said.append(float(text) if text.isdecimal() else 0.0)
        error, places = np.abs(np.array(said) - truth), [record.place for record in records]
        blind = float(np.abs(truth - truth.mean()).mean())
        samples.append(Sample(data=name, places=places, score=mean_of(error), baseline=blind))
        commonest = float(np.bincount(truth.astype(int)).max() / len(truth))
        exact.append(Sample(data=name, places=places, score=mean_of(error == 0), baseline=commonest))
    return RowScores(
        scores=(
            score_of("ask", "MAE", samples, "mean of the truth", less_is_better=True),
            score_of("ask", "exact", exact, "commonest count"),
        )
    )

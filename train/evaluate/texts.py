"""Rows about a picture as a whole, or a region of it, in words: scene classes, captions, open answers, descriptions."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from rsvlm_cli import pipeline
from rsvlm_cli.results import Answer, ClassScores, Report
from train.data.records import Record
from train.evaluate.bench import Bench
from train.evaluate.score import Points, RowScores, Sample, mean_of, score_of
from train.evaluate.suite import Row
from train.metrics.answers import is_right_lenient, is_right_strict
from train.metrics.text import bleu_counts, bleu_of_counts, cider_d, rouge_l

SCENE_QUESTION = "What is the scene?"


def scene(bench: Bench, row: Row) -> RowScores:
    """Top-1 of the scene class, among all that the bundle was taught, or else all that the set has."""
    samples, points = [], []
    for name in row.sets:
        records = bench.sample([record for record in bench.records[name] if record.scene])
        offered: Sequence[str] = ()
        if not (bench.bundle.manifest.classes or {}).get("scene"):
            offered = sorted({record.scene for record in bench.records[name] if record.scene})
        right, sure = np.zeros(len(records), bool), np.zeros(len(records))
        for k, record in enumerate(bench.walk(records)):
            report = bench.request(partial(pipeline.classify, bench.path(record), offered, bench.settings))
            if report is not None and isinstance(ranked := report.results[0], ClassScores):
                right[k], sure[k] = is_right_strict(ranked.labels[0], record.scene or ""), ranked.probabilities[0]
        if records:
            places = [record.place for record in records]
            samples.append(Sample(data=name, places=places, score=mean_of(right), baseline=_commonest(records)))
            points.append(Points(what="scene class", places=places, scores=sure, right=right))
    return RowScores(scores=(score_of("classify", "top-1", samples, "commonest class"),), points=tuple(points))


def answers(bench: Bench, row: Row) -> RowScores:
    """Answers to a set's own questions, or its scene class asked in words, right strictly and leniently."""
    strict: list[Sample] = []
    lenient: list[Sample] = []
    for name in row.sets:
        asked = bench.sample([(r, *pair) for r in bench.records[name] if len(r.images) == 1 for pair in _questions(r)])
        if not asked:
            continue
        said = [
            text_of(bench.request(partial(pipeline.ask, [bench.path(record)], [question], bench.settings)))
            for record, question, _ in bench.walk(asked)
        ]
        blind = _commonest_by_question(asked)
        for samples, judge in ((strict, is_right_strict), (lenient, is_right_lenient)):
            right = [judge(text, truth) for text, (*_, truth) in zip(said, asked, strict=True)]
            places = [record.place for record, *_ in asked]
            samples.append(Sample(data=name, places=places, score=mean_of(right), baseline=blind))
    return RowScores(
        scores=(
            score_of("ask", "accuracy, strict", strict, "commonest answer to the question"),
            score_of("ask", "accuracy, lenient", lenient, "commonest answer to the question"),
        )
    )


def _questions(record: Record) -> tuple[tuple[str, str], ...]:
    return record.questions or (((SCENE_QUESTION, record.scene),) if record.scene else ())


def _commonest_by_question(asked: Sequence[tuple[Record, str, str]]) -> float:
    """Return the share that is right for who knows each question's commonest answer and sees no picture."""
    by_question: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for _, question, truth in asked:
        by_question[question][truth] += 1
    return sum(max(counts.values()) for counts in by_question.values()) / len(asked)


def _commonest(records: Sequence[Record]) -> float:
    return max(Counter(record.scene for record in records).values()) / len(records)


def caption(bench: Bench, row: Row) -> RowScores:
    """CIDEr-D, ROUGE-L and BLEU of captions, of pairs of change captions."""
    said: dict[str, list[str]] = {}
    records: dict[str, list[Record]] = {}
    for name in row.sets:
        records[name] = bench.sample([record for record in bench.records[name] if record.captions])
        said[name] = [text_of(bench.request(partial(_caption, bench, r))) for r in bench.walk(records[name])]
    pair = any(len(record.images) == 2 for found in records.values() for record in found)
    task = "describe-change" if pair else "caption"
    scores = []
    for metric, measure in _CAPTION_METRICS.items():
        samples = []
        for name, found in ((name, found) for name, found in records.items() if found):
            refs, places = [record.captions for record in found], [record.place for record in found]
            blind = measure([_commonest_caption(refs)] * len(found), refs)(np.ones(len(found), int))
            samples.append(Sample(data=name, places=places, score=measure(said[name], refs), baseline=blind))
        scores.append(score_of(task, metric, samples, "always the commonest caption"))
    return RowScores(scores=tuple(scores))


def _caption(bench: Bench, record: Record) -> Report:
    if len(record.images) == 2:
        return pipeline.describe_change([bench.path(record, 0), bench.path(record, 1)], bench.settings)
    return pipeline.caption(bench.path(record), bench.settings)


def _bleu(n: int) -> Callable[[Sequence[str], Sequence[Sequence[str]]], Callable[[np.ndarray], float]]:
    def measure(said: Sequence[str], refs: Sequence[Sequence[str]]) -> Callable[[np.ndarray], float]:
        counts = bleu_counts(said, refs, n)
        return lambda counted: bleu_of_counts(counted @ counts)

    return measure


_CAPTION_METRICS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], Callable[[np.ndarray], float]]] = {
    "CIDEr-D": lambda said, refs: mean_of(cider_d(said, refs)),
    "ROUGE-L": lambda said, refs: mean_of(rouge_l(said, refs)),
    "BLEU-1": _bleu(1),
    "BLEU-4": _bleu(4),
}


def _commonest_caption(references: Sequence[Sequence[str]]) -> str:
    return Counter(text for texts in references for text in texts).most_common(1)[0][0]


def describe(bench: Bench, row: Row) -> RowScores:
    """The class of a boxed object, right strictly and leniently."""
    strict: list[Sample] = []
    lenient: list[Sample] = []
    for name in row.sets:
        items = [(record, item) for record in bench.records[name] for item in record.objects]
        items, said = bench.sample(items), []
        for record, item in bench.walk(items):
            region = ",".join(f"{v:g}" for v in item.box_px)
            said.append(text_of(bench.request(partial(pipeline.describe, bench.path(record), region, bench.settings))))
        if not items:
            continue
        blind = max(Counter(item.label for _, item in items).values()) / len(items)
        for samples, judge in ((strict, is_right_strict), (lenient, is_right_lenient)):
            right = [judge(text, item.label) for text, (_, item) in zip(said, items, strict=True)]
            places = [record.place for record, _ in items]
            samples.append(Sample(data=name, places=places, score=mean_of(right), baseline=blind))
    return RowScores(
        scores=(
            score_of("describe", "accuracy, strict", strict, "commonest class"),
            score_of("describe", "accuracy, lenient", lenient, "commonest class"),
        )
    )


def text_of(report: Report | None) -> str:
    """Return the text of a report's first answer; of no report, none."""
    return first.text if report is not None and isinstance(first := report.results[0], Answer) else ""

"""The question set of small things in large scenes asks what is true, and the table compares like with like."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.uhr import (
    LABELS,
    MODES,
    MOST,
    Asked,
    accuracy,
    compare,
    draw_scenes,
    error,
    plan_counts,
    questions_of,
    rank_score,
    run,
    table,
)

ROW = Asked("a", "presence", "ship", "ours", 1, "yes", 0.8, 21, 3400, 0.5)


def test_every_class_is_in_half_of_the_scenes():
    plans = plan_counts(26, seed=1)
    assert {sum(label in plan for plan in plans) for label in LABELS} == {13}
    assert {n for plan in plans for n in plan.values()} == set(range(1, MOST + 1))
    assert plan_counts(26, seed=1) == plans != plan_counts(26, seed=2)


def test_there_are_at_least_two_hundred_questions_as_many_yes_as_no():
    rng, n = np.random.default_rng(0), {"yes": 0, "no": 0, "count": 0}
    for plan in plan_counts(26, seed=1):
        truth = {label: plan.get(label, 0) for label in LABELS}
        for topic, label, question in questions_of(truth, rng):
            assert label.split()[0] in question
            n[topic if topic == "count" else "yes" if truth[label] else "no"] += 1
            assert topic == "presence" or truth[label]
    assert n["yes"] == n["no"] >= 100
    assert n["count"] >= 50


def test_what_was_drawn_is_the_truth_and_is_drawn_once(tmp_path):
    (path, truth), (_, second) = draw_scenes(tmp_path, 2, side_px=1024, seed=3)
    plan = plan_counts(2, seed=3)[0]
    assert all(truth[label] <= plan.get(label, 0) for label in LABELS)
    assert sum(truth.values()) + sum(second.values()) >= len(LABELS) - 1
    written = path.stat().st_mtime_ns
    assert next(iter(draw_scenes(tmp_path, 2, side_px=1024, seed=3))) == (path, truth)
    assert path.stat().st_mtime_ns == written


def test_answers_are_scored_against_the_truth():
    no = replace(ROW, truth=0, said="yes", score=0.6)
    assert [ROW.right, no.right, replace(ROW, topic="count", said="1").right] == [True, False, True]
    assert accuracy([ROW, no]) == 0.5
    assert rank_score([ROW, no]) == 1.0
    assert rank_score([ROW, replace(no, said="no", score=0.1)]) == 0.0
    assert rank_score([ROW, replace(no, score=0.8)]) == 0.5
    assert error([replace(ROW, said="4"), replace(ROW, said="0")]) == 2.0


def test_modes_are_compared_question_by_question():
    def says(mode, k):
        return "yes" if (k % 4 > 1 if mode == "ours" else k % 2) else "no"

    rows = [replace(ROW, scene=str(k), mode=mode, truth=k % 4 // 2, said=says(mode, k))
            for k in range(40) for mode in MODES]  # fmt: skip
    cells = compare(rows, "presence", accuracy)
    assert [cell.split()[0] for cell in cells] == ["0.50", "0.50", "1.00", "0.50", "+0.50", "+0.50"]
    counted = [replace(row, topic="count", said="1") for row in rows]
    assert "| windows | 21.0 | 21.0 | 21.0 | 21.0 |" in table(rows + counted)


@pytest.mark.slow
def test_a_run_that_is_cut_goes_on_where_it_stopped(tmp_path):
    whole = run(tmp_path, "nano", 2, 1024, seed=3, threads=1)
    (kept,) = tmp_path.glob("answers-*.jsonl")
    lines = kept.read_text().splitlines()
    first_scene = [line for line in lines if '-00of2"' in line]
    kept.write_text("\n".join(first_scene) + "\n")
    again = run(tmp_path, "nano", 2, 1024, seed=3, threads=1)
    assert [replace(row, seconds=0) for row in again] == [replace(row, seconds=0) for row in whole]

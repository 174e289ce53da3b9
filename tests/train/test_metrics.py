"""Scores against values computed by hand."""

import math

import numpy as np
import pytest

from train.metrics.boxes import Counts, count_matches, iou_matrix, match_boxes
from train.metrics.intervals import bootstrap_by_place
from train.metrics.masks import confusion, f1_of_labels, iou_of_labels
from train.metrics.text import bleu, cider_d, rouge_l


def test_iou_of_half_overlapping_squares_is_one_third() -> None:
    assert iou_matrix(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [5, 5, 6, 6]])) == pytest.approx(
        np.array([[1 / 3, 0]])
    )


def test_a_truth_is_taken_once_and_by_the_better_score() -> None:
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30]])
    assert match_boxes(boxes, np.array([0.4, 0.9, 0.5]), np.array([[0, 0, 10, 10]])).tolist() == [False, True, False]
    counts = count_matches(boxes, np.array([0.4, 0.9, 0.5]), np.array([[0, 0, 10, 10], [50, 50, 60, 60]]))
    assert counts == Counts(1, 2, 1)
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx((1 / 3, 1 / 2, 2 / 5))


def test_an_image_without_boxes_on_either_side_counts_nothing() -> None:
    assert count_matches(np.empty((0, 4)), np.empty(0), np.empty((0, 4))) == Counts()
    assert math.isnan(Counts().f1)


def test_mask_scores_equal_hand_computed_values_and_skip_unlabelled_pixels() -> None:
    truth = np.array([[1, 1, 0, 255], [2, 0, 0, 0]], np.uint8)
    predicted = np.array([[1, 0, 0, 1], [1, 0, 0, 0]], np.uint8)
    counts = confusion(predicted, truth, 3)
    assert counts.sum() == 7
    np.testing.assert_allclose(iou_of_labels(counts), [4 / 5, 1 / 3, 0, np.nan])
    np.testing.assert_allclose(f1_of_labels(counts), [8 / 9, 1 / 2, 0, np.nan])


def test_bleu_equals_the_papers_clipped_precision_and_brevity_penalty() -> None:
    assert bleu(["the the the the the the the"], [["the cat is on the mat"]], n=1) == pytest.approx(2 / 7)
    assert bleu(["the cat"], [["the cat is on the mat"]], n=1) == pytest.approx(math.exp(1 - 6 / 2))
    assert bleu(["a river runs by a town"], [["a river runs by a town"]]) == pytest.approx(1)


def test_rouge_l_equals_the_hand_computed_f_score() -> None:
    # LCS 3 of 4 and 4: precision and recall 3/4, so any beta gives 3/4.
    assert rouge_l(["police killed the gunman"], [["police kill the gunman"]]) == pytest.approx(0.75)
    assert rouge_l([""], [["a"]]) == 0


def test_cider_d_of_the_only_reference_is_ten_and_of_a_stranger_zero() -> None:
    refs = [
        ["a white plane stands on grey ground"],
        ["some green trees are near a lake"],
        ["two ships lie in the port"],
    ]
    scores = cider_d(["a white plane stands on grey ground", "desert", "two ships lie in the port"], refs)
    assert scores == pytest.approx([10, 0, 10])


def test_cider_d_of_a_partial_match_equals_the_hand_computed_value() -> None:
    # Unigrams: idf log 2 each, overlap of "red" alone: 1 of sqrt(2 * 2); no shared bigram; equal lengths, no penalty.
    scores = cider_d(["red roof", "x"], [["red car"], ["y"]])
    assert scores[0] == pytest.approx(10 / 4 * 0.5)


def test_interval_draws_places_not_images() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    wide = bootstrap_by_place(["a"] * 50 + ["b"] * 50, lambda i: float(values[i].mean()))
    narrow = bootstrap_by_place([str(i) for i in range(100)], lambda i: float(values[i].mean()))
    assert wide == (0.0, 1.0)
    assert 0.35 < narrow[0] < 0.45 < 0.55 < narrow[1] < 0.65

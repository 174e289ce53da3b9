"""Scores against values computed by hand, and by other hands."""

import math

import numpy as np
import pytest

from train.metrics.answers import is_right_lenient, is_right_strict
from train.metrics.boxes import Counts, count_matches, iou_matrix, match_boxes
from train.metrics.calibration import Bin, calibration_error, reliability
from train.metrics.intervals import drawn_scores, interval_of, wilson_interval
from train.metrics.masks import confusion, confusion_of_cells, f1_of_labels, iou_of_labels, mean_iou, truth_in_cells
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
    assert rouge_l(["police killed the gunman"], [["police kill the gunman"]]) == pytest.approx([0.75])
    assert rouge_l([""], [["a"]]).tolist() == [0]


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


SAID = [
    "many green trees are around a river",
    "a plane is parked on the airport next to a terminal",
    "some buildings and a road",
    "the the the the",
    "white waves near a yellow beach",
]
MEANT = [
    [
        "a curved river is surrounded by many green trees",
        "many green trees are in two sides of a river",
        "a river goes through a forest",
    ],
    ["two planes are parked next to a terminal building", "a plane is parked near the airport terminal"],
    [
        "many buildings and some green trees are in a residential area",
        "some buildings are near a road with cars",
        "a road is next to some buildings",
    ],
    ["the desert is yellow"],
    ["white waves roll on to a yellow beach", "a beach is near the green ocean with white waves"],
]


def test_caption_scores_equal_those_of_the_coco_caption_code() -> None:
    # Printed by pycocoevalcap 1.2 (Bleu, Rouge, Cider) for these texts.
    assert [bleu(SAID, MEANT, n) for n in (1, 2, 3, 4)] == pytest.approx(
        [0.79376, 0.68377, 0.516825, 0.386527], abs=1e-6
    )
    assert rouge_l(SAID, MEANT) == pytest.approx([0.684112, 0.758437, 0.590799, 0.25, 0.696347], abs=1e-6)
    assert cider_d(SAID, MEANT) == pytest.approx([2.170797, 3.284908, 2.174194, 0.166185, 2.721056], abs=1e-6)


@pytest.mark.parametrize(
    ("answer", "truth", "strict", "lenient"),
    [
        ("Yes.", "yes", True, True),
        ("a bare land", "bare land", True, True),
        ("it is a pond", "pond", False, True),
        ("12", "1", False, False),
        ("rainforest", "forest", False, False),
        ("forest", "rain forest", False, False),
        ("", "yes", False, False),
        (" . ", "", False, False),
        ("A", "a", True, True),
    ],
)
def test_an_answer_is_right_by_whole_words_and_never_for_being_empty(answer, truth, strict, lenient) -> None:
    assert (is_right_strict(answer, truth), is_right_lenient(answer, truth)) == (strict, lenient)


def test_counting_truth_in_cells_equals_painting_the_cells_over_the_pixels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), (30, 41))
    cells = rng.choice(np.array([0, 1, 2, 255], np.uint8), (4, 7))
    area = (3.0, 2.0, 39.0, 28.0)
    painted = np.zeros_like(truth)
    for y, x in np.ndindex(truth.shape):
        row = min(max(int((y + 0.5 - 2) // (26 / 4)), 0), 3)
        column = min(max(int((x + 0.5 - 3) // (36 / 7)), 0), 6)
        painted[y, x] = 0 if cells[row, column] == 255 else cells[row, column]
    counts = confusion_of_cells(cells, truth_in_cells(truth, 4, 7, area, 2))
    np.testing.assert_array_equal(counts, confusion(painted, truth, 2))
    # And the scores, by sets of pixels.
    ious = [((painted == k) & (truth == k)).sum() / ((painted == k) | (truth == k))[truth != 255].sum() for k in (1, 2)]
    assert mean_iou(counts) == pytest.approx(np.mean(ious))
    dice = 2 * ((painted == 1) & (truth == 1)).sum() / ((painted == 1)[truth != 255].sum() + (truth == 1).sum())
    assert f1_of_labels(counts)[1] == pytest.approx(dice)


def test_reliability_bins_and_their_mean_gap_are_those_computed_by_hand() -> None:
    scores, right = np.array([0.95, 1.0, 0.55, 0.52]), np.array([True, False, True, True])
    assert reliability(scores, right) == [
        Bin(0.5, 0.6, 2, pytest.approx(0.535), 1.0),
        Bin(0.9, 1.0, 2, pytest.approx(0.975), 0.5),
    ]
    assert calibration_error(scores, right, np.ones(4)) == pytest.approx((2 * 0.465 + 2 * 0.475) / 4)
    assert calibration_error(scores, right, np.array([0, 0, 1, 1])) == pytest.approx(0.465)


def mean_of(values: np.ndarray):
    return lambda counted: float(counted @ values / counted.sum())


def test_interval_draws_places_not_images() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    few = ["a"] * 40 + ["b"] * 10 + ["c"] * 50
    wide = interval_of(drawn_scores(few, mean_of(values)))
    narrow = interval_of(drawn_scores([str(i) for i in range(100)], mean_of(values)))
    assert wide == (0.0, 1.0)
    # The normal interval of 100 throws of a coin is 0.402 to 0.598.
    assert narrow == pytest.approx((0.402, 0.598), abs=0.02)


def test_two_places_are_too_few_to_draw_so_images_are_drawn() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    assert interval_of(drawn_scores(["a"] * 50 + ["b"] * 50, mean_of(values))) == pytest.approx((0.4, 0.6), abs=0.02)


def test_an_interval_of_a_share_is_wilsons() -> None:
    # 0 of 100: 3.70 %; 10 of 20: 29.9 to 70.1 % (Newcombe 1998, method 3).
    assert wilson_interval(0, 100) == pytest.approx((0, 0.0370), abs=1e-4)
    assert wilson_interval(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)

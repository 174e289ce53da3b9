"""Average precision and rotated overlap against other hands: pycocotools' own sums, plain loops, geometry on paper."""

import math
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest

from train.metrics import precision
from train.metrics.boxes import iou_matrix
from train.metrics.precision import (
    CocoScores,
    ImageBoxes,
    ScoredBoxes,
    average_precision,
    iou_of_quads,
    match_without_scores,
    mean_precision,
    quads_of_boxes,
)


def turned(cx, cy, w, h, degrees):
    a = math.radians(degrees)
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    return corners @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) + (cx, cy)


def random_boxes(rng, n):
    corner = rng.uniform(0, 60, (n, 2))
    return np.hstack([corner, corner + rng.uniform(8, 30, (n, 2))])


# --- overlap ----------------------------------------------------------------------------------------------------------


def test_a_square_and_itself_turned_by_45_degrees_share_an_octagon():
    square, diamond = turned(5, 5, 2, 2, 0)[None], turned(5, 5, 2, 2, 45)[None]
    shared = 8 * (math.sqrt(2) - 1)  # of an octagon with inner radius 1
    assert iou_of_quads(square, diamond)[0, 0] == pytest.approx(shared / (8 - shared))


def test_rotated_overlap_equals_counting_points():
    rng = np.random.default_rng(3)
    points = np.stack(np.meshgrid(*2 * [np.linspace(0, 10, 801)]), -1).reshape(-1, 2)

    def inside(quad):
        edges = np.roll(quad, -1, axis=0) - quad
        offset = points[:, None] - quad
        return ((edges[:, 0] * offset[..., 1] - edges[:, 1] * offset[..., 0]) >= 0).all(axis=1)

    a = np.array([turned(*rng.uniform(4, 6, 2), *rng.uniform(2, 5, 2), rng.uniform(0, 90)) for _ in range(3)])
    b = np.array([turned(*rng.uniform(4, 6, 2), *rng.uniform(2, 5, 2), rng.uniform(0, 90)) for _ in range(3)])
    ious = iou_of_quads(a, b)
    for i, j in np.ndindex(3, 3):
        one, other = inside(a[i]), inside(b[j])
        assert ious[i, j] == pytest.approx((one & other).sum() / (one | other).sum(), abs=0.005)


def test_upright_quads_overlap_like_boxes_and_nothing_overlaps_nothing():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 6), random_boxes(rng, 5)
    np.testing.assert_allclose(iou_of_quads(quads_of_boxes(a), quads_of_boxes(b)), iou_matrix(a, b), atol=1e-12)
    assert iou_of_quads(np.empty((0, 4, 2)), quads_of_boxes(b)).shape == (0, 5)


# --- mAP_nc -----------------------------------------------------------------------------------------------------------


def boxes_of(found, truths, difficult=None):
    return ImageBoxes(quads_of_boxes(np.array(found)), quads_of_boxes(np.array(truths)), difficult)


SQUARE, FAR, FARTHER = [0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]


def test_one_hit_of_two_truths_and_one_false_alarm_give_six_elevenths_of_the_first_precision():
    # Recall 0.5 at precision 1 serves the recalls 0, 0.1, ..., 0.5; the false alarm comes after.
    matches = match_without_scores([boxes_of([SQUARE, FARTHER], [SQUARE, FAR])])
    assert average_precision(matches) == pytest.approx(6 / 11)
    # In the other order the precision is one half wherever there is recall.
    assert average_precision(match_without_scores([boxes_of([FARTHER, SQUARE], [SQUARE, FAR])])) == pytest.approx(
        3 / 11
    )


def test_a_second_box_on_one_truth_is_a_false_alarm_even_if_another_truth_lies_near():
    near = [2, 0, 12, 10]
    matches = match_without_scores([boxes_of([SQUARE, [0.5, 0, 10.5, 10]], [SQUARE, near])])
    # The second box overlaps `near` by 0.74 and SQUARE by 0.9: it asks for SQUARE, which is taken.
    assert (matches.hit.tolist(), matches.false_alarm.tolist()) == ([True, False], [False, True])


def test_difficult_truths_are_neither_found_nor_missed():
    matches = match_without_scores([boxes_of([SQUARE, FAR], [SQUARE, FAR], np.array([True, False]))])
    assert (matches.hit.tolist(), matches.false_alarm.tolist()) == ([False, True], [False, False])
    assert average_precision(matches) == 1


def test_the_mean_is_over_classes_with_a_truth():
    whole = match_without_scores([boxes_of([SQUARE], [SQUARE])])
    none = match_without_scores([boxes_of([FAR], [SQUARE])])
    foreign = match_without_scores([boxes_of([FAR], np.empty((0, 4)))])
    assert mean_precision([whole, none, foreign]) == 0.5
    assert math.isnan(mean_precision([foreign]))


def nearly_found(rng, n):
    truths = random_boxes(rng, n)
    return boxes_of(rng.permutation(np.vstack([truths + rng.normal(0, 3, truths.shape), random_boxes(rng, 2)])), truths)


def test_average_precision_equals_a_plain_loop_on_random_boxes():
    rng = np.random.default_rng(7)
    images = [nearly_found(rng, n) for n in rng.integers(0, 7, 12)]
    curve, hits, alarms, n = [], 0, 0, sum(len(image.truths) for image in images)
    for image in images:
        taken = set()
        for quad in image.found:
            overlaps = [iou_matrix([*quad[0], *quad[2]], [*truth[0], *truth[2]])[0, 0] for truth in image.truths]
            best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
            if best is not None and overlaps[best] >= 0.5 and best not in taken:
                taken.add(best)
                hits += 1
            else:
                alarms += 1
            curve.append((hits / n, hits / (hits + alarms)))
    assert hits > 3
    expected = sum(max([p for r, p in curve if r * 10 >= k - 1e-6], default=0) for k in range(11)) / 11
    assert average_precision(match_without_scores(images)) == pytest.approx(expected)


def test_an_image_that_does_not_count_is_an_image_left_out():
    rng = np.random.default_rng(1)
    images = [nearly_found(rng, 5) for _ in range(3)]
    some = match_without_scores([images[0], images[2]])
    counted = average_precision(match_without_scores(images), np.array([1, 0, 1]))
    assert 0 < counted < 1
    assert counted == pytest.approx(average_precision(some))


# --- COCO -------------------------------------------------------------------------------------------------------------


def random_detections(rng, n_images, n_labels):
    found, truths = [], []
    for image in range(n_images):
        for label in range(n_labels):
            true = random_boxes(rng, int(rng.integers(0, 4)))
            said = np.vstack([true + rng.normal(0, 1.5, true.shape), random_boxes(rng, int(rng.integers(0, 3)))])
            truths.append(ScoredBoxes(image, label, true))
            found.append(ScoredBoxes(image, label, said, rng.uniform(0, 1, len(said)).round(2)))
    return found, truths


def test_the_sum_equals_what_pycocotools_sums_itself():
    found, truths = random_detections(np.random.default_rng(5), 20, 3)
    coco = precision._evaluate(found, truths, 20, 3)
    with redirect_stdout(StringIO()):
        coco.accumulate()
    table = coco.eval["precision"][:, :, :, 0, 0]
    scores = CocoScores(found, truths, 20, 3)
    assert 0.2 < scores.map() < 0.9
    assert scores.map() == pytest.approx(table.mean(), abs=1e-9)
    assert scores.map(iou=0.5) == pytest.approx(table[0].mean(), abs=1e-9)
    assert scores.map(iou=0.75) == pytest.approx(table[5].mean(), abs=1e-9)


def test_counting_images_equals_leaving_them_out():
    found, truths = random_detections(np.random.default_rng(6), 10, 2)
    half = CocoScores([f for f in found if f.image < 5], [t for t in truths if t.image < 5], 10, 2)
    counted = (np.arange(10) < 5).astype(int)
    assert CocoScores(found, truths, 10, 2).map(counted) == pytest.approx(half.map())


def test_a_class_without_a_truth_is_left_out_and_one_without_a_detection_scores_nothing():
    truths = [ScoredBoxes(0, 0, np.array([SQUARE])), ScoredBoxes(0, 1, np.array([FAR]))]
    found = [
        ScoredBoxes(0, 0, np.array([SQUARE]), np.array([0.4])),
        ScoredBoxes(0, 2, np.array([FAR]), np.array([0.9])),
    ]
    assert CocoScores(found, truths, 1, 3).map() == pytest.approx(0.5)
    assert math.isnan(CocoScores(found, [], 1, 3).map())

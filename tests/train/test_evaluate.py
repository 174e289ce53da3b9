"""What evaluation is made of: how questions are chosen, thresholds fitted, sets averaged, and what a blind guess is."""

import numpy as np
import pytest
from PIL import Image

from train.data.records import Record
from train.evaluate.fit import threshold_of
from train.evaluate.grounding import Target, median_of_others
from train.evaluate.masks import difference_counts
from train.evaluate.questions import balanced_questions
from train.evaluate.score import Sample, Sweep, mean_of, score_of, swept_score, thresholds_with
from train.metrics.masks import confusion


def test_as_much_ground_is_said_to_be_of_a_label_as_is_of_it():
    rng = np.random.default_rng(0)
    said, share = rng.random(1000), rng.random(1000) * 0.4
    threshold = threshold_of(said, share)
    assert (said >= threshold).mean() == pytest.approx(share.mean(), abs=0.002)


def test_every_word_is_asked_as_often_with_one_answer_as_with_the_other():
    def record(k, *labels):
        boxes = tuple({"label": label, "box_px": (0, 0, 1, 1)} for label in labels)
        data = {"id": str(k), "source": "s", "place": str(k), "split": "val", "images": ["a"], "objects": boxes}
        return Record.from_json(data | {"complete": ["ship", "car"]})

    records = [record(0, "ship"), record(1, "ship", "car"), record(2), record(3, "ship"), record(4, "ship")]
    pairs = balanced_questions(records)
    assert [(label, yes.id, no.id) for label, yes, no in pairs] == [("car", "1", "0"), ("ship", "0", "2")]
    assert balanced_questions(records, ("car",)) == pairs[:1]


def test_a_blind_guess_of_a_box_is_the_median_of_the_others_of_its_class():
    def target(kind, box, size=(100, 50)):
        return Target(None, kind, kind, np.array(box, float), size)

    boxes = ([0, 0, 10, 10], [10, 10, 30, 20], [40, 20, 80, 30])
    ships = [target("ship", box) for box in boxes]
    targets = [*ships, target("car", [1, 2, 3, 4]), target("ship", [20, 20, 40, 30], (200, 100))]
    # As shares of 100 x 50: (.1 .2 .3 .4), (.4 .4 .8 .6) and of 200 x 100 (.1 .2 .2 .3).
    assert median_of_others(targets, 0).tolist() == pytest.approx([10, 10, 30, 20])
    assert median_of_others(targets, 3).tolist() == [0, 0, 100, 50]
    # (0 0 .1 .2), (.1 .2 .3 .4), (.4 .4 .8 .6) on 200 x 100.
    assert median_of_others(targets, 4).tolist() == pytest.approx([20, 20, 60, 40])


def test_an_image_difference_is_counted_as_by_painting_each_threshold(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 1, 255], np.uint8), (20, 30))
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    images = [rng.integers(0, 255, (20, 30), np.uint8) for _ in paths]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    first, second = ((image - image.mean()) / image.std() for image in images)
    counts = difference_counts(paths, truth)
    for k, threshold in ((0, 0.05), (19, 1.0), (59, 3.0)):
        changed = (np.abs(second - first) > threshold).astype(np.uint8)
        np.testing.assert_array_equal(counts[k], confusion(changed, truth, 1))


def test_the_mean_of_two_sets_counts_each_set_alike():
    small = Sample(data="a", places=["1", "2", "3"], score=mean_of([1, 1, 1]), baseline=0.5)
    large = Sample(data="b", places=[str(k) for k in range(300)], score=mean_of([0] * 300), baseline=0.1)
    score = score_of("ask", "accuracy", [small, large], "always yes")
    assert (score.value, score.interval, score.n, score.baseline) == (0.5, (0.5, 0.5), 303, pytest.approx(0.3))
    assert [part.value for part in score.parts] == [1, 0]
    assert score.clears_baseline


def test_a_tuned_score_is_never_cut_at_a_threshold_of_its_own_place():
    # Two halves of the places, each best at another threshold; there the other half has nothing.
    grid = thresholds_with(0.5)
    counts = np.zeros((len(grid), 4, 1))
    counts[np.flatnonzero(grid == 0.2), [0, 2]] = 1
    counts[np.flatnonzero(grid == 0.8), [1, 3]] = 0.9
    sweep = Sweep(data="a", places=["p", "q", "r", "s"], counts=counts, read=lambda total: float(total[0] / 4))
    score = swept_score("segment", "IoU", [sweep], 0.5)
    assert (score.value, score.threshold, score.best_threshold, score.value_tuned) == (0, 0.5, 0.2, 0)

"""Views carry every label with the pixels; what is asked of them is true."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_sets import SIDE, make_tiny_set

from rsvlm_cli.tasks.dialect import NANO, PromptKind
from train.data.conversations import MAX_SPOTS, Interviewer, part_of
from train.data.mixture import Corpus, Mixture
from train.data.phrases import plural
from train.data.views import ViewLaw, make_view


def red_cells(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0].astype(int) - pixels[..., 1] > 60


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("sets")
    make_tiny_set(root / "tiny")
    return Corpus.load(root, ["tiny"], "train")


def test_boxes_and_masks_follow_every_crop_and_turn(corpus: Corpus) -> None:
    law, seen = ViewLaw(size_px=96), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        record = corpus.records["tiny"][seed % 2]
        view = make_view(record, corpus.folders["tiny"], corpus.store, law, rng)
        red = red_cells(view.pixels[0])
        if red.sum() < 50:
            continue  # recoloured to grey: nothing to compare with
        for _, (x1, y1, x2, y2) in view.boxes:
            inside = red[round(y1 * 96) + 2 : round(y2 * 96) - 2, round(x1 * 96) + 2 : round(x2 * 96) - 2]
            assert inside.mean() > 0.95, (seed, record.id)
            seen += 1
        share = red.reshape(16, 6, 16, 6).mean((1, 3))
        assert np.abs(share - view.coverage["building"]).mean() < 0.06
    assert seen > 40


def test_a_box_cut_by_the_crop_makes_its_label_incomplete_and_is_not_asked_for(corpus: Corpus) -> None:
    law, cut = ViewLaw(size_px=96), 0
    for seed in range(200):
        record = corpus.records["tiny"][1]
        view = make_view(record, corpus.folders["tiny"], corpus.store, law, np.random.default_rng(seed))
        if "building" not in view.complete:
            cut += 1
            turns = Interviewer(NANO).turns(view, np.random.default_rng(0))
            assert not [turn for turn in turns if turn.topic in ("count", "ground") and "building" in turn.user]
    assert cut > 5


def _box(row: int, column: int, reach: tuple[float, ...]) -> tuple[float, ...]:
    """Undo `reach_of` by hand, on 16 cells a side."""
    left, top, right, bottom = ((v - 5) / 100 for v in reach)
    x, y = (column + 0.5) / 16, (row + 0.5) / 16
    return x - left, y - top, x + right, y + bottom


def _is_one_of(box: tuple[float, ...], boxes: Sequence[tuple[str, tuple[float, ...]]]) -> bool:
    return any(np.allclose(box, other, atol=1e-6) for _, other in boxes)


def test_every_reply_is_true(corpus: Corpus) -> None:
    law, topics = ViewLaw(size_px=48, augment=False), set()
    for record in corpus.records["tiny"]:
        view = make_view(record, corpus.folders["tiny"], corpus.store, law, np.random.default_rng(0))
        for seed in range(20):
            for turn in Interviewer(NANO).turns(view, np.random.default_rng(seed)):
                topics.add(turn.topic)
                if turn.kind is PromptKind.GROUND:
                    n = 0 if "ship" in turn.user else 1 if turn.topic == "refer" else len(record.objects)
                    assert len(turn.spots) == min(n, MAX_SPOTS)
                    assert turn.cells is not None
                    assert bool(turn.cells.any()) is bool(n)
                    for row, column, reach in turn.spots:
                        assert turn.cells[row, column] == 1
                        assert _is_one_of(_box(row, column, reach), view.boxes)
                if turn.kind in (PromptKind.SEGMENT, PromptKind.DETECT_CHANGE):
                    assert turn.cells is not None
                    covered = turn.cells.mean()
                    truth = (
                        sum((b.box_px[2] - b.box_px[0]) * (b.box_px[3] - b.box_px[1]) for b in record.objects) / SIDE**2
                    )
                    assert abs(covered - (0 if "ship" in turn.user else truth)) < 0.06
                if turn.topic == "count":
                    assert turn.reply == ("0" if "ship" in turn.user else str(len(record.objects)))
                if turn.topic == "presence":
                    assert turn.reply == ("no" if "ship" in turn.user else "yes")
    assert {
        "count",
        "presence",
        "ground",
        "ground absent",
        "refer",
        "segment",
        "change mask",
        "caption",
        "scene",
    } <= topics


def test_a_step_draws_the_same_views_again_and_other_steps_others(corpus: Corpus) -> None:
    mixture = Mixture(corpus, {"tiny": 1.0}, ViewLaw(size_px=48), seed=3, batch=4)
    first, again, other = (mixture.views(step)[0] for step in (7, 7, 8))
    assert all(np.array_equal(a.pixels[0], b.pixels[0]) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.pixels[0], b.pixels[0]) for a, b in zip(first, other, strict=True))


def test_words_for_places_and_plurals() -> None:
    assert part_of(0.1, 0.1) == "upper left"
    assert part_of(0.99, 0.5) == "right"
    assert part_of(0.5, 0.5) == "center"
    assert [plural(w) for w in ("bus", "ship", "tennis court", "truck")] == [
        "buses",
        "ships",
        "tennis courts",
        "trucks",
    ]

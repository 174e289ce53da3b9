"""Views carry every label with the pixels; what is asked of them is true."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_sets import SIDE, make_tiny_set

from rsvlm_cli.tasks.dialect import NANO, PromptKind
from train.data.conversations import MAX_SPOTS, Interviewer, part_of
from train.data.mixture import Corpus, Mixture
from train.data.phrases import plural
from train.data.records import LabelledBox
from train.data.shares import Mix
from train.data.views import ImageStore, ViewLaw, make_view


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
    mixture, law = Mixture(corpus, Mix(weights={"tiny": 1.0}), seed=3), ViewLaw(size_px=48)
    first, again, other, beside = (mixture.view(*spot, law)[0].pixels[0] for spot in ((7, 0), (7, 0), (8, 0), (7, 1)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, beside)


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


def test_what_a_set_says_of_an_image_is_asked_of_the_image_as_it_stands(tmp_path: Path) -> None:
    (record, *_) = make_tiny_set(tmp_path / "tiny")
    described = LabelledBox(label="the red one", box_px=(24, 48, 120, 192))
    record = replace(record, questions=(("Is it red?", "yes"),), phrases=(described,))
    store, seen = ImageStore(), set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        view = make_view(record, tmp_path / "tiny", store, ViewLaw(size_px=48), rng)
        said = [turn for turn in Interviewer(NANO).turns(view, rng) if turn.user in ASKED]
        assert bool(said) is view.stands
        seen.add(view.stands)
        if view.stands:
            assert view.zoom == 1
            assert view.phrases == (("the red one", (0.1, 0.2, 0.5, 0.8)),)
            assert {turn.reply for turn in said if turn.topic == "question"} == {"yes"}
    assert seen == {True, False}


ASKED = ("[VQA] Is it red?", "[VG] Where is the the red one?")


def test_a_store_keeps_what_fits_and_lets_the_oldest_go(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.png" for k in range(3)]
    for k, path in enumerate(paths):
        Image.fromarray(np.full((10, 10, 3), k, np.uint8)).save(path)
    store = ImageStore(most_bytes=600)
    first = store.load(paths[0], "RGB")
    store.load(paths[1], "RGB")
    assert store.load(paths[0], "RGB") is first
    store.load(paths[2], "RGB")
    assert store.load(paths[0], "RGB") is first
    paths[1].unlink()
    with pytest.raises(FileNotFoundError):
        store.load(paths[1], "RGB")

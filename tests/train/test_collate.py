"""Packed turns are worth what they are alone; dense targets say where things are."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny_sets import SIDE, make_tiny_set

from model.config import DecoderConfig, LabelSets, ModelConfig, VisionConfig
from model.heads import DenseHeads
from model.vlm import VLM
from rsvlm_cli.runtime.bundle import ImageSpec
from rsvlm_cli.runtime.preprocess import prepare
from rsvlm_cli.tasks.dialect import NANO, Granularity, PromptKind
from train.data.collate import IGNORE, Packer, dense_targets, stack_pixels
from train.data.conversations import Turn
from train.data.mixture import Corpus
from train.data.views import ViewLaw
from train.heads import HeadLosses, to_cells
from train.learner import reply_losses
from train.tokenizer import STOP, TextCodec, train_tokenizer

LABELS = LabelSets(scenes=("farmland", "industrial"), objects=("building", "ship"), masks=("building",))


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return TextCodec(train_tokenizer(["[VQA] How many ships? [VG] Where is the building?", "yes no none"] * 50, 400))


def tiny_model() -> VLM:
    torch.manual_seed(0)
    vision = VisionConfig(image_size=48, patch_size=16, hidden_size=32, intermediate_size=48, layers=1, heads=2)
    decoder = DecoderConfig(vocab_size=400, hidden_size=32, intermediate_size=48, layers=2, heads=2, kv_heads=1)
    return VLM(ModelConfig(vision=vision, decoder=decoder)).eval()


def test_packed_turns_have_the_loss_they_have_one_by_one(codec: TextCodec) -> None:
    model = tiny_model()
    packer = Packer(codec, NANO, model.config.image_tokens)
    turns = [
        Turn(PromptKind.ASK, f"[VQA] {q}", r, "t")
        for q, r in (("How many ships?", "12"), ("Where?", "no"), ("building", "yes"))
    ]
    features = model.encode_images(torch.randn(3, 3, 48, 48))
    packed = packer.pack(Granularity.IMAGE, [(0, 1, turns), (1, 2, turns[:1])])
    alone = [packer.pack(Granularity.IMAGE, [(0, 1, [turn])]) for turn in turns] + [
        packer.pack(Granularity.IMAGE, [(1, 2, turns[:1])])
    ]
    with torch.no_grad():
        total, weight = reply_losses(model, features, packed, packer, dense=False)
        parts = [reply_losses(model, features, one, packer, dense=False) for one in alone]
    assert float(total) == pytest.approx(sum(float(loss) for loss, _ in parts), rel=1e-5)
    assert float(weight) == pytest.approx(sum(float(norm) for _, norm in parts), rel=1e-6)


def test_turns_that_are_read_have_the_loss_they_have_one_by_one_boxes_included(codec: TextCodec) -> None:
    model = tiny_model()
    packer = Packer(codec, NANO, model.config.image_tokens)
    rng = np.random.default_rng(0)
    cells = (rng.random((2, 6, 6)) < 0.5).astype(np.int8)
    spots = tuple((row, column, tuple(rng.uniform(0, 100, 4))) for row, column in ((0, 1), (5, 5), (3, 2)))
    question = "[VG] Where is the ship?"
    both = Turn(PromptKind.GROUND, question, "", "t", "ship", cells[0], spots)
    mask = Turn(PromptKind.GROUND, "[VG] Where is the building?", "", "t", "building", cells[1])
    features = model.encode_images(torch.randn(2, 3, 48, 48))

    def loss(*turns: Turn, n_images: int = 1) -> tuple[float, float]:
        with torch.no_grad():
            packed = packer.pack(Granularity.REGION, [(0, n_images, turns)])
            total, weight = reply_losses(model, features, packed, packer, dense=False)
        return float(total), float(weight)

    # The loss of each box alone is what it adds to the mask of its turn.
    bare, single = loss(replace(both, spots=())), [loss(replace(both, spots=(spot,))) for spot in spots]
    expected = np.add(np.sum(single, 0) - 2 * np.array(bare), loss(mask))
    np.testing.assert_allclose(loss(both, mask), expected, rtol=1e-4)
    assert loss(both, n_images=2) != pytest.approx(loss(both))


def test_unknown_cells_are_not_learnt(codec: TextCodec) -> None:
    cells = np.zeros((6, 6), np.int8)
    cells[1, 1] = -1
    turn = Turn(PromptKind.SEGMENT, "[SEG] building.", "", "t", "building", cells)
    packed = Packer(codec, NANO, 10).pack(Granularity.PIXEL, [(0, 1, [turn])])
    assert packed.blocks[packed.cells >= 0].tolist() == [IGNORE, *[0] * 8]


def test_labels_are_the_reply_and_its_end_alone(codec: TextCodec) -> None:
    packed = Packer(codec, NANO, 5).pack(
        Granularity.IMAGE, [(0, 1, [Turn(PromptKind.ASK, "[VQA] How many ships?", "12", "t")])]
    )
    said = packed.labels[packed.labels != IGNORE].tolist()
    assert codec.tokenizer.decode(said, skip_special_tokens=False) == "12" + STOP
    assert packed.positions[0].tolist() == list(range(packed.ids.shape[1]))


def test_the_fed_prompt_is_the_dialects_prompt_tokenised_around_the_image(codec: TextCodec) -> None:
    packed = Packer(codec, NANO, 5).pack(
        Granularity.REGION, [(0, 1, [Turn(PromptKind.GROUND, "[VG] Where is the ship?", "none", "t")])]
    )
    before, after = NANO.prompt(PromptKind.GROUND, phrase="ship").split("<image>")
    expected = [*codec.encode(before), *[-200] * 5, *codec.encode(after), *codec.encode("none")]
    assert packed.ids[0].tolist() == expected


def test_training_pixels_equal_the_runtimes_preprocessing(tmp_path: Path) -> None:
    make_tiny_set(tmp_path / "tiny", count=1)
    corpus = Corpus.load(tmp_path, ["tiny"], "train")
    record = corpus.records["tiny"][0]
    view = corpus.view("tiny", record, ViewLaw(size_px=48, augment=False), np.random.default_rng(0))
    raw = corpus.store.load(corpus.folders["tiny"] / record.images[0], "RGB")
    spec = ImageSpec(size=(48, 48), resample="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, tokens=10)
    np.testing.assert_array_equal(stack_pixels([view])[0].numpy(), prepare(raw, spec))


def test_dense_targets_put_centres_and_coverage_where_the_boxes_are(tmp_path: Path) -> None:
    make_tiny_set(tmp_path / "tiny", count=3)
    corpus = Corpus.load(tmp_path, ["tiny"], "train")
    law = ViewLaw(size_px=48, augment=False)
    views = [corpus.view("tiny", record, law, np.random.default_rng(0)) for record in corpus.records["tiny"]]
    targets = dense_targets(views, LABELS, 16)
    assert targets.images_of.tolist() == [0, 1, 2]
    assert targets.pairs.tolist() == [2]
    assert targets.scene.tolist() == [0, 1, IGNORE]
    x1, y1, x2, y2 = (v * 16 / SIDE for v in corpus.records["tiny"][0].objects[0].box_px)
    row, column = int((y1 + y2) / 2), int((x1 + x2) / 2)
    assert targets.centres[0, 0, row, column] == 1
    assert targets.centres[0, 1].max() == 0
    assert targets.coverage[0, 0, row, column] == 1
    assert targets.coverage[0, 0].sum() == pytest.approx((x2 - x1) * (y2 - y1), rel=1e-4)
    view, *_, log_w, log_h = targets.boxes[0].tolist()
    assert view == 0
    assert 2**log_w == pytest.approx(x2 - x1, rel=1e-4)
    assert 2**log_h == pytest.approx(y2 - y1, rel=1e-4)
    assert targets.change[0].sum() > 0
    assert targets.coverage[2].isnan().all()
    assert HeadLosses.counts(targets) == {
        "scene": 2,
        "coverage": 2 * 16 * 16,
        "centres": 3,
        "boxes": 4 * len(targets.boxes),
        "change": 16 * 16,
    }


def test_the_heads_of_a_batch_say_the_sum_of_what_they_say_of_its_views(tmp_path: Path) -> None:
    make_tiny_set(tmp_path / "tiny", count=4)
    corpus = Corpus.load(tmp_path, ["tiny"], "train")
    law = ViewLaw(size_px=48, augment=False)
    views = [corpus.view("tiny", record, law, np.random.default_rng(0)) for record in corpus.records["tiny"]]
    torch.manual_seed(0)
    read, losses, tokens = DenseHeads(32, LABELS), HeadLosses(32), torch.randn(5, 64, 32)
    with torch.no_grad():
        together = losses(read(tokens), dense_targets(views, LABELS, 16))
        first = losses(read(tokens[:2]), dense_targets(views[:2], LABELS, 16))
        rest = losses(read(tokens[2:]), dense_targets(views[2:], LABELS, 16))
    for name, loss in together.items():
        assert float(loss) == pytest.approx(float(first[name] + rest[name]), rel=1e-4), name
    assert float(first["change"]) == 0
    assert float(together["coverage"]) > 400


def test_cells_of_a_token_are_its_two_by_two_block() -> None:
    tokens = torch.zeros(1, 9, 4)
    tokens[0, 5] = torch.tensor([1.0, 2.0, 3.0, 4.0])  # row 1, column 2
    cells = to_cells(tokens)[0, 0]
    assert cells[2:4, 4:6].tolist() == [[1, 2], [3, 4]]
    assert cells.sum() == 10

import dataclasses
import json
import shutil

import pytest

from export import parity
from model.checkpoint import save_checkpoint
from model.config import DecoderConfig, ModelConfig, VisionConfig
from rsvlm_cli.errors import InputError
from tests.export.conftest import random_model
from tests.released import DECODER, write_expected, write_released
from tests.released import VISION as RELEASED_VISION

PATCHES = VisionConfig(image_size=30, patch_size=7, hidden_size=40, intermediate_size=64, layers=2, heads=4)


@pytest.fixture(scope="module")
def released_rows(released_folder):
    rows, notes = parity.check_parity(released_folder, released_folder / "expected.json")
    assert not notes
    return rows


@pytest.mark.parametrize("runtime", ["torch fp32", "onnx fp32"])
def test_the_released_layout_answers_as_the_authors_class_does(released_rows, runtime):
    rows = [row for row in released_rows if row.runtime == runtime]
    assert {(row.case, row.expert) for row in rows} == {(str(case), e) for case in range(4) for e in range(3)}
    for row in rows:
        # Usually 7e-6; the wide weights (below) amplify the order of sums, which a library may choose: 3e-4 was seen.
        assert row.relative < parity.TOLERANCE
        assert (row.n_agree, row.n_tokens) == (16, 16)


def test_quantised_profiles_of_the_released_layout_stay_near(released_rows):
    # Its weights are drawn wide, so that attention is sharp and every rounding is amplified: no trained model is so.
    for runtime, bound in (("onnx int8", 0.4), ("onnx int4", 0.8), ("onnx int4-decoder", 1.0)):
        assert all(row.relative < bound for row in released_rows if row.runtime == runtime)


@pytest.mark.parametrize(
    "decoder",
    [
        DecoderConfig(vocab_size=300, hidden_size=96, intermediate_size=64, layers=2, heads=6, kv_heads=3),
        DecoderConfig(
            vocab_size=300, hidden_size=48, intermediate_size=72, layers=1, heads=6, kv_heads=3, tie_embeddings=True
        ),
        DecoderConfig(vocab_size=300, hidden_size=64, intermediate_size=96, layers=2, heads=2, kv_heads=2, experts=1),
        DecoderConfig(vocab_size=300, hidden_size=64, intermediate_size=96, layers=2, heads=4, kv_heads=1, experts=5),
    ],
    ids=["six heads, three kv", "tied, heads of eight", "one expert", "five experts"],
)
def test_any_sizes_answer_as_torch_does(tmp_path, decoder):
    save_checkpoint(random_model(ModelConfig(vision=PATCHES, decoder=decoder)), tmp_path)
    rows, notes = parity.check_parity(tmp_path)
    assert not notes
    assert {row.expert for row in rows} == set(range(decoder.experts))
    for row in rows:
        if row.runtime == "onnx fp32":
            assert row.equal, row
            assert row.relative < 1e-4
        else:
            bounds = {"onnx fp16": 0.01, "onnx int8": 0.12, "onnx int4": 0.5, "onnx int4-decoder": 0.8}
            assert row.relative < bounds[row.runtime], row


def test_a_convolutional_stem_and_a_tied_head_answer_as_torch_does(checkpoint_folder):
    rows, _ = parity.check_parity(checkpoint_folder)
    assert all(row.equal and row.relative < 1e-4 for row in rows if row.runtime == "onnx fp32")
    assert all(row.relative < 0.12 for row in rows if row.runtime == "onnx int8")
    assert all(row.relative < 0.5 for row in rows if row.runtime == "onnx int4")


def test_a_model_that_cannot_be_quantised_says_so_and_is_compared_in_fp32(tmp_path, capsys):
    decoder = DecoderConfig(vocab_size=300, hidden_size=72, intermediate_size=64, layers=1, heads=6, kv_heads=3)
    save_checkpoint(random_model(ModelConfig(vision=PATCHES, decoder=decoder)), tmp_path)
    assert parity.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "onnx fp32" in out
    assert "onnx int4: hidden size 72 is no multiple of 16" in out


@pytest.fixture
def recorded(tmp_path, released_folder):
    """A copy of the fixture with its first case alone, to be altered."""
    folder = shutil.copytree(released_folder, tmp_path / "copy")
    data = json.loads((folder / "expected.json").read_text())
    return folder, {"cases": data["cases"][:1]}


@pytest.mark.parametrize("alter", ["logits", "token"])
def test_a_float_runtime_that_differs_is_exit_one(recorded, alter, capsys):
    folder, data = recorded
    answer = data["cases"][0]["granularity"]["1"]
    if alter == "logits":
        answer["last_logits"][3] += 0.01
    else:
        answer["greedy"][-1] += 1
    (folder / "expected.json").write_text(json.dumps(data))
    assert parity.main([str(folder), "--expected", str(folder / "expected.json")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if "DIFFERS" in line] == ["1", "1"]


def test_unreadable_answers_are_an_input_error(recorded, capsys):
    folder, _ = recorded
    (folder / "expected.json").write_text('{"cases": [{"images": []}]}')
    with pytest.raises(InputError, match="no recorded answers"):
        parity.check_parity(folder, folder / "expected.json")
    assert parity.main([str(folder), "--expected", str(folder / "expected.json")]) == 3
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("tie", [False, True], ids=["own head", "tied"])
def test_a_released_folder_of_other_sizes_is_proven_case_by_case(tmp_path, capsys, tie):
    decoder = dataclasses.replace(DECODER, tie_embeddings=tie)  # six heads share three key-value heads
    model = random_model(ModelConfig(vision=RELEASED_VISION, decoder=decoder))
    folder = write_released(tmp_path / "released", model)
    expected = write_expected(folder, model, [[(50, 91)], [(120, 64), (33, 200)]], n_greedy=20)
    for name in ("tokenizer.json", "generation_config.json"):
        (folder / name).unlink()
    assert parity.main([str(folder), "--expected", str(expected)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[:2] for row in rows[:: len(rows) // 6]] == [[case, e] for case in "01" for e in "012"]
    runtimes = {" ".join(row[2:4]) for row in rows}
    assert {"torch fp32", "onnx fp32", "onnx int8", "onnx int4"} <= runtimes
    for row in rows:
        if row[3] == "fp32":
            assert float(row[5]) < 1e-4
            assert row[6:] == ["20/20", "same"]


def test_a_case_of_words_alone_is_answered_too(recorded):
    folder, data = recorded
    case = data["cases"][0]
    case |= {"images": [], "input_ids": [token for token in case["input_ids"] if token >= 0]}
    (folder / "expected.json").write_text(json.dumps(data))
    rows, _ = parity.check_parity(folder, folder / "expected.json")
    torch_rows, onnx_rows = ([row for row in rows if row.runtime == f"{kind} fp32"] for kind in ("torch", "onnx"))
    for ours, theirs in zip(torch_rows, onnx_rows, strict=True):
        assert ours.absolute == pytest.approx(theirs.absolute, rel=1e-3)

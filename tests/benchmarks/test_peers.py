"""The pure parts of the comparison with peers: what the work needs at least, ratios, and the forms of one model."""

import json

import numpy as np
import pytest

from benchmarks.full_size import CONFIG
from benchmarks.peers.__main__ import is_wanted
from benchmarks.peers.contenders import (
    DECODERS,
    LLAMA,
    ORT_TOWER,
    OURS,
    OURS_TOWER,
    PROTOTYPE,
    PROTOTYPE_TOWER,
    REFERENCE,
    TOWERS,
)
from benchmarks.peers.models import GGUF_NAMES, gguf_name, make_model, released_config
from benchmarks.peers.plan import PROMPT, REPLY
from benchmarks.peers.table import COLD, Results, page
from benchmarks.peers.work import least_seconds, prefill_operations, tile_operations, token_bytes
from model.config import ModelConfig
from model.weights import expected_shapes
from tests.benchmarks.test_full_size import NARROW

SIZES = ModelConfig.from_released(CONFIG)
MACHINE = {"read": 50e9, "fp32": 2e11, "bf16": 4e11, "int8": 9e11, "bf16_matrix": 0, "int8_matrix": 9e12}
BY_NAME = {contender.name: contender for contender in (*DECODERS, *TOWERS)}


def test_work_of_the_released_sizes():
    # 26 blocks of (4 x 1152^2 + 2 x 1152 x 4304) weights, 729 tokens; scores and their use of 729^2 each
    assert tile_operations(SIZES.vision, 896) == pytest.approx(577e9 + 64e9 + 4e9, rel=0.01)
    assert prefill_operations(SIZES.decoder) == pytest.approx(544e9 + 25e9, rel=0.01)
    halves = token_bytes(SIZES.decoder, BY_NAME["transformers bf16"])
    assert halves == pytest.approx(2 * 494e6 + (PROMPT + REPLY / 2) * 24 * 2 * 128 * 2, rel=0.002)


def test_matrix_units_count_when_asked():
    ours, half = BY_NAME[OURS["int4-128"]], BY_NAME["transformers bf16"]
    fast, slow = (least_seconds(ours, MACHINE, SIZES.decoder, SIZES.vision, matrix=matrix) for matrix in (True, False))
    assert slow["prefill_s"] == pytest.approx(10 * fast["prefill_s"])
    assert slow["token_s"] == fast["token_s"]
    # Without matrix units of its kind a contender's limit is the vector units'.
    least = [least_seconds(half, MACHINE, SIZES.decoder, SIZES.vision, matrix=matrix) for matrix in (True, False)]
    assert least[0] == least[1]


def decoder_facts(token_s: float, answer: list[float]) -> dict[str, list[float]]:
    return {
        "load_s": [0.25],
        "prefill_s": [2.0, 4.0],
        "token_s": [token_s],
        "peak_gb": [0.5],
        "files_gb": [1],
        "answer": answer,
    }


def make_round(slowdown: float) -> dict[str, dict[str, list[float]]]:
    tower = {"load_s": [0.25], "peak_gb": [0.7], "files_gb": [1], "answer": [1, 2, 4]}
    facts = {name: decoder_facts(0.01 * slowdown, [3, 1, 2]) for name in OURS.values()}
    facts |= {LLAMA: decoder_facts(0.02 * slowdown, [-3, -1, -2]), REFERENCE["decoder"]: decoder_facts(1, [6, 2, 4])}
    facts |= {OURS_TOWER: tower | {"tile_s": [1.5]}, ORT_TOWER: tower | {"tile_s": [3.75]}}
    facts |= {PROTOTYPE: decoder_facts(0.03, [3, 1, 2]), PROTOTYPE_TOWER: tower | {"tile_s": [2.5]}}
    return facts | {name: {"seconds": [6.4], "peak_gb": [0.9]} for name in COLD.values()}


def test_ratios_are_of_one_round_each():
    # One round met another job: the times doubled, the ratio stayed.
    results = Results([make_round(1), make_round(1), make_round(9)], MACHINE, SIZES)
    assert results.ratio(LLAMA, OURS["int4-128"], "token_s") == pytest.approx(2)
    assert results.ratio("transformers bf16", OURS["int4-128"], "token_s") is None
    assert results.agreement(BY_NAME[OURS["int4-32"]]) == "1.000"
    assert results.agreement(BY_NAME[LLAMA]) == "-1.000"
    # 0.25 + 0.25 + 1.5 + 3 + 32 x 0.01
    assert results.parts(OURS["int4-128"], OURS_TOWER)[0] == pytest.approx(5.32)
    assert results.over_parts("int4-128", OURS["int4-128"], OURS_TOWER) == f"{6.4 / 5.32:.2f}"
    assert results.over_parts("int4-128", PROTOTYPE, PROTOTYPE_TOWER) == f"{6.4 / 6.96:.2f}"
    assert results.over_parts("int4-128", PROTOTYPE, "nobody's") == "-"


def test_page_holds_goals_and_leaves_out_who_was_not_there():
    text = page(Results([make_round(1)], MACHINE, SIZES), "Sizes.", ["Left out: someone."])
    assert "| decode, times llama.cpp Q4_0 | >= 1.6 (aim 2) | 2.00 | 2.00 | 2.00 |" in text
    assert "| tile, times ONNX Runtime fp32 | >= 2.2 | 2.50 | 2.50 | 2.50 |" in text
    assert "Left out: someone." in text
    assert "genai" not in text
    bare = make_round(1)
    del bare[LLAMA]
    text = page(Results([bare], {}, SIZES), "Sizes.", [])
    assert "| decode, times llama.cpp Q4_0 | >= 1.6 (aim 2) | - | - | - |" in text
    assert "no C++ compiler" in text


def test_ours_are_always_measured():
    wanted = [c.name for c in BY_NAME.values() if is_wanted(c, ["llama", "Runtime fp32"])]
    assert wanted == [*OURS.values(), LLAMA, "llama.cpp Q4_0, head too", OURS_TOWER, ORT_TOWER]


def test_llama_has_a_name_for_every_tensor_of_one_expert():
    one = ModelConfig.from_released(released_config(1))
    names = [name for name in expected_shapes(one) if name.startswith("decoder.") and "experts.1" not in name]
    names = [gguf_name(name) for name in names if "experts.2" not in name]
    assert len(set(names)) == 3 + len(GGUF_NAMES) + 3  # and the biases of query, key and value
    assert {"token_embd.weight", "output_norm.weight", "output.weight", "blk.0.attn_q.bias"} <= set(names)


def test_transformers_reads_its_form_of_the_model(tmp_path):
    import torch
    from transformers import Qwen2ForCausalLM

    from export.checkpoint import open_checkpoint

    make_model(tmp_path, "hf", NARROW)
    model, found = Qwen2ForCausalLM.from_pretrained(tmp_path / "hf", output_loading_info=True, dtype=torch.float32)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    checkpoint = open_checkpoint(tmp_path / "checkpoint")
    held = model.state_dict()["model.layers.0.mlp.down_proj.weight"].numpy()
    assert np.array_equal(held, checkpoint.read("decoder.layers.0.experts.0.down_proj.weight").astype(np.float32))
    with pytest.raises(SystemExit, match="other sizes"):
        make_model(tmp_path, "hf", NARROW | {"num_hidden_layers": 2})
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == "qwen2"

"""The benchmark's own parts on a narrow model with the released vocabulary; the true size is not for a test."""

import os
import sys

import pytest

from benchmarks.full_size import CONFIG, PROMPTS, check_prompts, draw_weight, limit, line, write_checkpoint
from benchmarks.process import run
from export.pack import open_source, pack
from export.quantise import ProfileName, make_profile

NARROW = CONFIG | {
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 384,
        "patch_size": 14,
    },
}


def test_prompts_are_the_released_demos_on_a_bundle_of_the_released_vocabulary(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "checkpoint", NARROW)
    source = open_source(tmp_path / "checkpoint")
    assert source.card.repetition_penalty == 1.1
    assert source.card.stop_tokens == ("<|im_end|>", "<|endoftext|>")
    bundle = pack(source, tmp_path / "bundle", make_profile(ProfileName.INT4)).bundle
    assert (bundle.manifest.image.tokens, bundle.manifest.dialect["mask_grid"]) == (730, 24)
    assert check_prompts(bundle.path).startswith(f"{len(PROMPTS)} prompts")
    first = next(iter(PROMPTS))
    monkeypatch.setitem(PROMPTS, first, (*PROMPTS[first][:2], PROMPTS[first][2] + " "))
    with pytest.raises(SystemExit, match="wanted"):
        check_prompts(bundle.path)


def test_a_step_is_timed_and_its_memory_counted(tmp_path):
    program = "import sys; block = bytearray(200_000_000); print('said'); sys.exit(5)"
    step = run("ask", [sys.executable, "-c", program], dict(os.environ), tmp_path)
    assert (step.code, step.stdout) == (5, "said\n")
    # Not from the size of the process that started it, whatever that is.
    ballast = bytearray(600_000_000)
    again = run("ask", [sys.executable, "-c", program], dict(os.environ), tmp_path)
    assert len(ballast) > 1e9 * again.peak_gb
    assert all(0.2 < peak_gb < 0.3 for peak_gb in (step.peak_gb, again.peak_gb))
    assert limit(step) == 2.5
    assert line(step).endswith("| 2.5 | 5 |")


def test_norms_are_ones_and_biases_zeros():
    import numpy as np

    rng = np.random.default_rng(0)
    assert draw_weight(rng, "model.layers.0.input_layernorm.weight", (4,)).tolist() == [1, 1, 1, 1]
    assert draw_weight(rng, "model.layers.0.self_attn.q_proj.bias", (2,)).tolist() == [0, 0]
    drawn = draw_weight(rng, "model.layers.0.self_attn.q_proj.weight", (400, 100))
    assert drawn.dtype == np.float16
    assert float(drawn.std()) == pytest.approx(0.1, rel=0.05)

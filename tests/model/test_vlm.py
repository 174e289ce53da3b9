"""The network against the reference implementation's recorded outputs and against transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import DecoderConfig, ModelConfig, VisionConfig
from model.decoder import Decoder, KVCache
from model.vision import VisionTower
from model.vlm import VLM, expand_image_slots
from model.weights import RSUNIVLM, Layout, check_shapes, expected_shapes

FIXTURE = Path(__file__).parents[1] / "fixtures" / "rsunivlm-tiny"
CASES = json.loads((FIXTURE / "expected.json").read_text())["cases"]


@pytest.fixture(scope="module")
def reference() -> VLM:
    return load_checkpoint(FIXTURE)


def case_inputs(case: dict, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    images = [
        Image.open(FIXTURE / name).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        for name in case["images"]
    ]
    pixels = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    return torch.tensor(case["input_ids"]), (torch.from_numpy(pixels.astype(np.float32)) / 255 - 0.5) / 0.5


@pytest.mark.parametrize("granularity", ["0", "1", "2"])
@pytest.mark.parametrize("index", range(len(CASES)))
def test_logits_and_greedy_tokens_equal_the_reference_implementation(
    reference: VLM, index: int, granularity: str
) -> None:
    case = CASES[index]
    ids, pixels = case_inputs(case, reference.config.vision.image_size)
    tokens, logits = reference.generate_greedy(ids, pixels, int(granularity), 16)
    expected = case["granularity"][granularity]
    assert len(expand_image_slots(ids, reference.config.image_tokens)) == case["sequence_length"]
    np.testing.assert_allclose(logits[:64].numpy(), expected["last_logits"], atol=1e-4)
    assert tokens == expected["greedy"]


def tiny_config(*, experts: int = 3, tie: bool = False, stem: bool = False) -> ModelConfig:
    vision = VisionConfig(
        image_size=64,
        patch_size=16 if stem else 14,
        hidden_size=32,
        intermediate_size=56,
        layers=2,
        heads=4,
        stem_channels=(8, 8, 16, 32) if stem else (),
        stem_blocks=(0, 1, 0, 1) if stem else (),
    )
    decoder = DecoderConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=64,
        layers=2,
        heads=6,
        kv_heads=3,
        experts=experts,
        tie_embeddings=tie,
    )
    return ModelConfig(vision=vision, decoder=decoder)


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            positive = name.endswith("running_var")
            tensor.copy_(
                torch.rand(tensor.shape, generator=generator) + 0.5
                if positive
                else torch.randn(tensor.shape, generator=generator) * 0.2
            )


def test_vision_tower_equals_transformers_siglip_before_its_last_block() -> None:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = tiny_config().vision
    theirs = SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=56,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=64,
            patch_size=14,
            vision_use_head=False,
        )
    ).eval()
    randomise(theirs)
    ours = VisionTower(config).eval()
    prefix = "model.vision_tower.vision_tower.vision_model."
    stored = {prefix + key.removeprefix("vision_model."): tensor for key, tensor in theirs.state_dict().items()}
    ours.load_state_dict({n: stored[RSUNIVLM.stored_name(f"vision.{n}")] for n in ours.state_dict()})
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(pixels, output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(ours(pixels), expected, atol=1e-5, rtol=1e-5)


def test_decoder_with_three_equal_experts_equals_transformers_qwen2() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = tiny_config().decoder
    theirs = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=97,
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=3,
            rope_theta=1e6,
            tie_word_embeddings=False,
        )
    ).eval()
    randomise(theirs)
    ours = Decoder(config).eval()
    dense, stored = Layout(language="model.", head="lm_head.weight"), theirs.state_dict()
    ours.load_state_dict({n: stored[dense.stored_name(f"decoder.{n}")] for n in ours.state_dict()})
    ids = torch.randint(0, 97, (3, 21))
    with torch.no_grad():
        logits = ours.lm_head(ours(ours.embed_tokens(ids), torch.tensor([0, 1, 2])))
        torch.testing.assert_close(logits, theirs(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_batch_of_mixed_granularities_equals_one_by_one() -> None:
    model = VLM(tiny_config()).eval()
    randomise(model)
    prompt = torch.tensor([5, -200, 7, 8, 9])
    ids = expand_image_slots(prompt, model.config.image_tokens).expand(4, -1)
    pixels, expert = torch.randn(4, 3, 64, 64), torch.tensor([2, 0, 1, 0])
    with torch.no_grad():
        together = model(ids, pixels, expert)
        alone = [model(ids[i : i + 1], pixels[i : i + 1], expert[i : i + 1])[0] for i in range(4)]
        other = model(ids, pixels, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)
    assert (together[0] - other[0]).abs().max() > 1e-2


def test_cached_decoding_in_pieces_equals_one_full_pass() -> None:
    decoder = Decoder(tiny_config().decoder).eval()
    randomise(decoder)
    embeds, expert, cache = torch.randn(2, 17, 48), torch.tensor([1, 2]), KVCache()
    with torch.no_grad():
        whole = decoder(embeds, expert)
        pieces = [decoder(part, expert, cache=cache) for part in embeds.split([9, 1, 5, 1, 1], 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize("tie", [False, True])
def test_checkpoint_round_trip_keeps_every_value(tmp_path: Path, stem: bool, tie: bool) -> None:
    model = VLM(tiny_config(stem=stem, tie=tie)).eval()
    randomise(model)
    save_checkpoint(model, tmp_path)
    again = load_checkpoint(tmp_path)
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    listed = set(expected_shapes(model.config)) | ({"decoder.lm_head.weight"} if tie else set())
    assert listed == set(model.state_dict())


def test_released_layout_has_the_published_number_of_weights() -> None:
    config = ModelConfig.from_released(
        {
            "model_type": "llava_qwen_gmoe",
            "vocab_size": 151647,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
        }
    )
    total = sum(int(np.prod(shape)) for shape in expected_shapes(config).values())
    post_layernorm = 2 * 1152
    assert total + post_layernorm == 1_656_807_712
    assert config.image_tokens == 730


def test_a_wrong_checkpoint_is_refused_by_the_name_of_the_tensor() -> None:
    config = tiny_config()
    good = expected_shapes(config)
    with pytest.raises(ValueError, match=r"missing.*projector\.0\.bias"):
        check_shapes({name: shape for name, shape in good.items() if name != "projector.0.bias"}, config)
    with pytest.raises(ValueError, match=r"unexpected.*head\.q"):
        check_shapes(good | {"head.q": (1,)}, config)
    with pytest.raises(ValueError, match=r"projector\.0\.bias has shape \[3\], wanted \[48\]"):
        check_shapes(good | {"projector.0.bias": (3,)}, config)
    with pytest.raises(ValueError, match="llava_qwen_gmoe"):
        ModelConfig.from_released({"model_type": "llava"})

"""Each layout that is imported, against the arrays that were written and, where it has the class, transformers."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from export.checkpoint import open_checkpoint
from export.parity import torch_runtime
from model.config import ModelConfig
from model.vlm import VLM
from model.weights import RSUNIVLM, Layout, expected_shapes
from rsvlm_cli.errors import BundleError
from tests.export.conftest import random_model
from tests.released import DECODER, VISION, released_config, released_state, write_released

CONFIG = ModelConfig(vision=VISION, decoder=DECODER)
GATE = "model.layers.1.mlp.2.gate_proj.weight"


@pytest.fixture(scope="module")
def model():
    return random_model(CONFIG)


@pytest.fixture
def folder(tmp_path, model):
    return write_released(tmp_path / "released", model)


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def reconfigure(folder, **changes):
    path = folder / "config.json"
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in data.items() if value != "absent"}))


def assert_same(checkpoint, model):
    state = model.state_dict()
    for name in expected_shapes(checkpoint.config):
        np.testing.assert_array_equal(checkpoint.read(name), state[name].numpy(), err_msg=name)


def test_shards_and_pickled_tensors_are_the_same_model(tmp_path, folder, model):
    whole = load_file(folder / "model.safetensors")
    names = sorted(whole)
    for kind, save in (("model.safetensors", save_file), ("pytorch_model.bin", torch.save)):
        stem, _, suffix = kind.partition(".")
        sharded = tmp_path / f"sharded-{suffix}"
        sharded.mkdir()
        shutil.copy(folder / "config.json", sharded)
        weight_map = {}
        for k, part in enumerate((names[:40], names[40:])):
            shard = f"{stem}-0000{k + 1}-of-00002.{suffix}"
            save({name: whole[name] for name in part}, sharded / shard)
            weight_map |= dict.fromkeys(part, shard)
        (sharded / f"{kind}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        assert_same(open_checkpoint(sharded), model)
    (folder / "model.safetensors").unlink()
    torch.save(whole, folder / "pytorch_model.bin")
    assert_same(open_checkpoint(folder), model)


@pytest.mark.parametrize("fault", ["shard missing", "tensor missing", "tensor too many", "shard elsewhere"])
def test_shards_that_are_not_those_of_their_index_are_refused(folder, fault):
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = dict.fromkeys(whole, "a.safetensors")
    if fault == "tensor missing":
        del whole[GATE]
    elif fault == "tensor too many":
        whole["stranger"] = torch.zeros(1)
    elif fault == "shard elsewhere":
        weight_map[GATE] = "../a.safetensors"
    if fault != "shard missing":
        save_file(whole, folder / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    named = {"shard missing": "a.safetensors: missing", "tensor missing": GATE, "tensor too many": "stranger"}
    with pytest.raises(BundleError, match=named.get(fault, "not a plain file name")):
        open_checkpoint(folder)


class RunsCode:
    def __reduce__(self):
        return (open, ("ran.txt", "w"))


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(folder, monkeypatch, write):
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").unlink()
    write({"model.norm.weight": RunsCode()}, folder / "pytorch_model.bin")
    with pytest.raises(BundleError, match=r"pytorch_model\.bin: refused") as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "ran.txt").exists()


def test_a_broken_pickle_is_one_line(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1000)}, folder / "pytorch_model.bin")
    whole = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=r"pytorch_model\.bin: ") as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_a_renamed_tensor_is_named_as_missing_and_as_unexpected(folder):
    rewrite(folder, lambda tensors: tensors.update({GATE + "s": tensors.pop(GATE)}))
    with pytest.raises(BundleError, match=rf"missing, the first is {GATE}; 1 tensors are unexpected.*{GATE}s"):
        open_checkpoint(folder)


def test_a_wrong_shape_is_named_with_the_one_wanted(folder):
    rewrite(folder, lambda tensors: tensors.update({GATE: tensors[GATE][:-1].clone()}))
    with pytest.raises(BundleError, match=rf"{GATE} has shape \[63, 96\], wanted \[64, 96\]"):
        open_checkpoint(folder)


def test_a_vocabulary_of_other_rows_is_refused(folder):
    reconfigure(folder, vocab_size=CONFIG.decoder.vocab_size + 1)
    with pytest.raises(BundleError, match=r"(embed_tokens|lm_head)\.weight has shape"):
        open_checkpoint(folder)


def test_values_that_are_no_numbers_are_refused_when_they_are_read(folder):
    rewrite(folder, lambda tensors: tensors[GATE].__setitem__((3, 4), float("nan")))
    with pytest.raises(BundleError, match=GATE):
        open_checkpoint(folder).read("decoder.layers.1.experts.2.gate_proj.weight")


def test_weights_that_are_already_quantised_are_refused(folder):
    rewrite(folder, lambda tensors: tensors.update({GATE: tensors[GATE].to(torch.int8)}))
    with pytest.raises(BundleError, match=f"{GATE} is stored as I8"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', wanted 'silu'"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"mm_projector_type": "linear"}, "mm_projector_type"),
        ({"image_aspect_ratio": "anyres_max_9"}, "image_aspect_ratio"),
        ({"num_key_value_heads": "absent"}, "num_key_value_heads"),
        ({"num_key_value_heads": 4}, "heads"),
    ],
)
def test_a_configuration_that_asks_for_something_else_is_refused(folder, changes, says):
    reconfigure(folder, **changes)
    with pytest.raises(BundleError, match=says):
        open_checkpoint(folder)


def test_a_vision_configuration_left_over_from_a_base_class_is_not_taken_for_the_towers(folder):
    reconfigure(folder, vision_config={"model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336})
    with pytest.raises(
        BundleError, match=r"missing.*encoder\.layers\.10\."
    ):  # so400m's blocks, which the tiny tower lacks
        open_checkpoint(folder)


# --- the output head --------------------------------------------------------------------------------------------------


def test_where_the_flag_ties_the_embedding_serves_whatever_head_is_stored(folder, model):
    reconfigure(folder, tie_word_embeddings=True)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config.decoder.tie_embeddings
    assert "lm_head.weight differs from model.embed_tokens.weight" in checkpoint.notes[0]
    assert "decoder.lm_head.weight" not in checkpoint.tensors
    rewrite(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert open_checkpoint(folder).notes == ()


def test_a_missing_head_means_a_tied_one_only_where_no_flag_denies_it(folder):
    rewrite(folder, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(BundleError, match=r"missing, the first is lm_head\.weight"):
        open_checkpoint(folder)
    reconfigure(folder, tie_word_embeddings="absent")
    assert open_checkpoint(folder).config.decoder.tie_embeddings


# --- other families ---------------------------------------------------------------------------------------------------

DENSE = Layout(**{f: getattr(RSUNIVLM, f) for f in ("language", "head", "projector", "newline", "tower", "unused")})


@pytest.mark.parametrize("kind", [{"model_type": "llava_qwen"}, {"model_type": "llava"}])
def test_onevision_as_published_has_its_mlp_in_every_expert(tmp_path, model, kind):
    config = released_config(CONFIG) | {"architectures": ["LlavaQwenForCausalLM"], "image_aspect_ratio": "anyres_max_9"}
    (tmp_path / "config.json").write_text(json.dumps(config | kind))
    save_file(released_state(model, DENSE), tmp_path / "model.safetensors")
    stored, checkpoint = load_file(tmp_path / "model.safetensors"), open_checkpoint(tmp_path)
    assert checkpoint.config.decoder.experts == 3
    for expert in range(3):
        np.testing.assert_array_equal(
            checkpoint.read(f"decoder.layers.1.experts.{expert}.down_proj.weight"),
            stored["model.layers.1.mlp.down_proj.weight"].numpy(),
        )
    reconfigure(tmp_path, model_type="llava", architectures=["LlavaLlamaForCausalLM"])
    with pytest.raises(BundleError, match="model_type is 'llava'"):
        open_checkpoint(tmp_path)


QWEN = {
    "vocab_size": 120,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 30,
    "patch_size": 7,
}


def ours(checkpoint) -> VLM:
    """The network of a checkpoint, as parity runs it."""
    closure = torch_runtime(checkpoint).__closure__
    return next(cell.cell_contents for cell in closure if isinstance(cell.cell_contents, VLM))


@torch.no_grad()
def test_onevision_of_transformers_is_the_network_that_transformers_runs(tmp_path):
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    config = LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **SIGLIP},
        text_config={"model_type": "qwen2", **QWEN},
    )
    torch.manual_seed(1)
    theirs = LlavaOnevisionForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path)
    model = ours(open_checkpoint(tmp_path))
    assert model.config.vision.layers == 3
    assert model.config.decoder.rope_theta == 5e5
    pixels = torch.randn(1, 3, 30, 30)
    tower = theirs.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1]
    expected = theirs.model.multi_modal_projector(tower)
    torch.testing.assert_close(model.encode_images(pixels)[:, :-1], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.encode_images(pixels)[0, -1], theirs.model.image_newline)
    ids = torch.randint(0, 120, (3, 17))
    logits = model.decoder.lm_head(model.decoder(model.decoder.embed_tokens(ids), torch.tensor([0, 1, 2])))
    torch.testing.assert_close(logits, theirs(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_pair_of_siglip_and_qwen2_starts_with_their_weights_and_a_drawn_projector(tmp_path):
    from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipConfig, SiglipModel

    torch.manual_seed(1)
    language = Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **QWEN)).eval()
    language.save_pretrained(tmp_path / "qwen", max_shard_size="40KB")
    text = {"num_hidden_layers": 1, "vocab_size": 50, "hidden_size": 32, "num_attention_heads": 4}
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    siglip = SiglipModel(SiglipConfig(vision_config=SIGLIP, text_config=text | ends)).eval()
    siglip.save_pretrained(tmp_path / "siglip")

    with pytest.raises(BundleError, match="--tower DIR"):
        open_checkpoint(tmp_path / "qwen")
    checkpoint = open_checkpoint(tmp_path / "qwen", tmp_path / "siglip")
    model = ours(checkpoint)
    assert model.config.vision.layers == 2  # the last of three is not run
    pixels, ids = torch.randn(1, 3, 30, 30), torch.randint(0, 120, (1, 9))
    tower = siglip.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(model.vision(pixels), tower, atol=1e-5, rtol=1e-4)
    logits = model.decoder.lm_head(model.decoder(model.decoder.embed_tokens(ids), torch.tensor([2])))
    torch.testing.assert_close(logits, language(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    drawn = checkpoint.read("projector.0.weight")
    assert drawn.std() == pytest.approx(0.02, rel=0.1)
    np.testing.assert_array_equal(drawn, checkpoint.read("projector.0.weight"))
    assert not checkpoint.read("projector.2.bias").any()


def test_a_tower_beside_a_checkpoint_that_has_one_is_refused(folder, tmp_path, model):
    tower = tmp_path / "tower"
    tower.mkdir()
    (tower / "config.json").write_text(json.dumps({"model_type": "siglip", "vision_config": SIGLIP}))
    save_file({"vision_model.embeddings.patch_embedding.bias": torch.zeros(32)}, tower / "model.safetensors")
    with pytest.raises(BundleError, match="unexpected"):
        open_checkpoint(folder, tower)


def test_a_checkpoint_without_its_tower_takes_it_from_the_release(folder, tmp_path, model):
    prefix, tower = RSUNIVLM.tower, tmp_path / "tower"
    tower.mkdir()
    held = load_file(folder / "model.safetensors")
    parts = {key.removeprefix(prefix): held.pop(key) for key in list(held) if key.startswith(prefix)}
    save_file(held, folder / "model.safetensors")
    last = {key.replace("layers.1.", "layers.2."): value for key, value in parts.items() if "layers.1." in key}
    save_file(
        {f"vision_model.{key}": value.clone() for key, value in (parts | last).items()}, tower / "model.safetensors"
    )
    sizes = json.loads((folder / "config.json").read_text())["vision_config"]
    (tower / "config.json").write_text(json.dumps({"model_type": "siglip", "vision_config": sizes}))
    with pytest.raises(BundleError, match="missing"):
        open_checkpoint(folder)
    assert_same(open_checkpoint(folder, tower), model)

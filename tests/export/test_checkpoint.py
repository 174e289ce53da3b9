import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from export.checkpoint import open_checkpoint
from rsvlm_cli.errors import BundleError


def test_both_layouts_read_by_canonical_names(checkpoint_folder, released_folder):
    ours, released = open_checkpoint(checkpoint_folder), open_checkpoint(released_folder)
    assert ours.family is None
    assert released.family.family == "rsunivlm"
    stored = load_file(released_folder / "model.safetensors")
    np.testing.assert_array_equal(
        released.read("decoder.layers.1.experts.2.up_proj.weight"),
        stored["model.layers.1.mlp.2.up_proj.weight"].numpy(),
    )
    stored = load_file(checkpoint_folder / "model.safetensors")
    name = "vision.stem.stages.2.3.conv1.1.running_var"
    np.testing.assert_array_equal(ours.read(name), stored[name].numpy())


@pytest.fixture
def copy(tmp_path, released_folder):
    folder = tmp_path / "copy"
    shutil.copytree(released_folder, folder, ignore=shutil.ignore_patterns("*.png"))
    return folder


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"no {name} in it"):
        open_checkpoint(copy)


def test_a_missing_tensor_is_named(copy):
    rewrite(copy, lambda tensors: tensors.pop("model.layers.0.mlp.1.up_proj.weight"))
    with pytest.raises(BundleError, match=r"1 tensors are missing.*model\.layers\.0\.mlp\.1\.up_proj\.weight"):
        open_checkpoint(copy)


def test_a_foreign_tensor_is_named(copy):
    rewrite(copy, lambda tensors: tensors.update({"model.audio_tower.weight": torch.zeros(1)}))
    with pytest.raises(BundleError, match=r"model\.audio_tower\.weight"):
        open_checkpoint(copy)


def test_another_family_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "gemma"}))
    with pytest.raises(BundleError, match="'gemma'"):
        open_checkpoint(copy)


@pytest.mark.parametrize("content", ["{", "[]", '{"vision": {}}'])
def test_a_broken_configuration_is_one_line(copy, content):
    (copy / "config.json").write_text(content)
    with pytest.raises(BundleError) as caught:
        open_checkpoint(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_weights_file_is_refused(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BundleError, match=r"model\.safetensors: broken"):
        open_checkpoint(copy)


def test_half_precision_is_read_as_stored_and_brain_floats_are_widened(copy):
    def narrow(tensors):
        tensors["model.norm.weight"] = tensors["model.norm.weight"].half()
        tensors["model.image_newline"] = tensors["model.image_newline"].bfloat16()

    whole = open_checkpoint(copy).read("image_newline")
    rewrite(copy, narrow)
    checkpoint = open_checkpoint(copy)
    assert checkpoint.read("decoder.norm.weight").dtype == np.float16
    np.testing.assert_allclose(checkpoint.read("image_newline").astype(np.float32), whole, rtol=2**-8)

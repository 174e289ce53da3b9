"""A bundle back to a checkpoint: what it computes, and what comes of it when it is exported again."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from export.checkpoint import CONFIG
from export.pack import open_source, pack, write_bundle
from export.quantise import ProfileName, make_profile
from export.unpack import unpack
from model.checkpoint import load_checkpoint
from rsvlm_cli.errors import BundleError
from rsvlm_cli.runtime.bundle import read_bundle
from rsvlm_cli.tasks.dialect import Granularity

PROFILES = {
    "fp32": (make_profile(ProfileName.FP32), 1e-6),
    "fp16": (make_profile(ProfileName.FP16), 1e-3),
    "int8": (make_profile(ProfileName.INT8), 0.02),
    "tokens": (make_profile(ProfileName.INT8, vision="tokens"), 0.02),
    "dynamic": (make_profile(ProfileName.INT8, vision="dynamic"), 0.02),
    "int4": (make_profile(ProfileName.INT4), 0.15),
    "int4 b128": (make_profile(ProfileName.INT4_DECODER, block=128), 0.2),
}


@pytest.mark.parametrize("name", PROFILES)
def test_every_weight_comes_back_as_what_it_stands_for(name, tmp_path, checkpoint_folder):
    profile, most = PROFILES[name]
    bundle = write_bundle(checkpoint_folder, tmp_path / "bundle", profile).bundle
    unpack(bundle, tmp_path / "back")
    model, back = load_checkpoint(checkpoint_folder), load_checkpoint(tmp_path / "back")
    assert back.config == model.config
    folded = "vision.stem."
    for key, tensor in back.state_dict().items():
        if not key.startswith(folded):
            expected = model.state_dict()[key].float()
            assert float((tensor.float() - expected).norm()) <= most * float(expected.norm()), key
    # Batch norms come back folded: only what the stem computes is the same.
    pixels = torch.randn(1, 3, model.config.vision.image_size, model.config.vision.image_size)
    with torch.no_grad():
        seen, expected = back.vision.stem(pixels), model.vision.stem(pixels)
    assert float((seen - expected).norm()) <= max(most, 1e-5) * float(expected.norm())


def test_unpacked_and_packed_again_a_bundle_says_the_same_of_itself(tmp_path, checkpoint_folder):
    profile = make_profile(ProfileName.INT8)
    bundle = write_bundle(checkpoint_folder, tmp_path / "bundle", profile).bundle
    unpack(bundle, tmp_path / "back")
    again = write_bundle(tmp_path / "back", tmp_path / "again", profile).bundle
    whole = [dataclasses.replace(one.manifest, files={}) for one in (bundle, again)]
    assert whole[0] == whole[1]
    was, now = (np.fromfile(one.path / "decoder.bin", np.uint8) for one in (bundle, again))
    assert (was != now).mean() < 0.01  # what was rounded once lies on the same steps


def test_what_cannot_be_unpacked_is_said(tmp_path, checkpoint_folder):
    profile = make_profile(ProfileName.INT8)
    source = open_source(checkpoint_folder, granularities=[Granularity.IMAGE])
    pruned = pack(source, tmp_path / "pruned", profile).bundle
    with pytest.raises(BundleError, match="holds some of its experts alone"):
        unpack(pruned, tmp_path / "out")
    bundle = write_bundle(checkpoint_folder, tmp_path / "bundle", profile).bundle
    shutil.copytree(bundle.path, tmp_path / "old")
    (tmp_path / "old" / CONFIG).unlink()
    with pytest.raises(BundleError, match=r"config\.json"):
        unpack(read_bundle(tmp_path / "old"), tmp_path / "out")
    assert not (tmp_path / "out").exists()

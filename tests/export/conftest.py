"""Checkpoints with random weights, whole and tiny, for the tests of export."""

import json
from pathlib import Path

import pytest
import torch

from model.checkpoint import save_checkpoint
from model.config import DecoderConfig, LabelSets, ModelConfig, VisionConfig
from model.vlm import VLM
from rsvlm_cli.tasks.dialect import NANO
from tests.bundle_factory import make_tokenizer

VOCAB_SIZE = make_tokenizer().get_vocab_size()
CONFIG = ModelConfig(
    vision=VisionConfig(
        image_size=32,
        patch_size=8,
        hidden_size=48,
        intermediate_size=80,
        layers=2,
        heads=4,
        stem_channels=(8, 16, 48),
        stem_blocks=(0, 1, 2),
    ),
    # Heads of 12, which the attention operator cannot turn, and experts of 80, no multiple of a block: both get padded.
    decoder=DecoderConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=96,
        intermediate_size=80,
        layers=3,
        heads=8,
        kv_heads=2,
        experts=3,
        tie_embeddings=True,
    ),
    labels=LabelSets(scenes=("farmland", "port"), objects=("ship",), masks=("water", "road", "forest")),
)
CARD = {
    "name": "tiny",
    "family": "nano",
    "version": "1",
    "licence": "CC-BY-4.0",
    "stop_tokens": ["<|im_end|>"],
    "data": [{"name": "noise", "licence": "CC0-1.0"}],
    "max_context": 256,
    "classes": {"scene": ["harbour"]},
}


@torch.no_grad()
def random_model(config: ModelConfig, seed: int = 0) -> VLM:
    """Draw weights that keep activations near one and every part of the network audible; norms are no identities."""
    torch.manual_seed(seed)
    model = VLM(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.uniform_(0.5, 1.5)
        elif parameter.ndim == 2:
            parameter.normal_(std=max(parameter.shape[1], 1) ** -0.5)
        elif parameter.ndim == 1:
            parameter.normal_(std=0.3)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.3, 2.0)
    return model


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint: convolutional stem, tied head."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(random_model(CONFIG), folder)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "dialect.json").write_text(json.dumps(NANO.to_json()), encoding="utf-8")
    (folder / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def released_folder() -> Path:
    """A tiny checkpoint in the layout of the released RSUniVLM, with what the authors' own class answers on it."""
    return Path(__file__).parent.parent / "fixtures" / "rsunivlm-tiny"

"""Checkpoints on disk: our own folders, and the released RSUniVLM layout.

A checkpoint folder holds ``config.json`` and ``model.safetensors`` under canonical names (`model.weights`); what else
lies in it (dialect, tokenizer, card) is for export.
"""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model.config import ModelConfig
from model.vlm import VLM
from model.weights import HEAD, RSUNIVLM, check_shapes


def save_checkpoint(model: VLM, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``; a tied head is written once, as the embedding."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.decoder.tie_embeddings:
        del state[HEAD]
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_json(), indent=1) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> VLM:
    """Read a checkpoint of either layout into a model in fp32 and evaluation mode.

    Raises:
        ValueError: if the configuration is of another family, or a tensor is missing, unexpected or misshapen.
    """
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    state = load_file(folder / "model.safetensors")
    released = "model_type" in data
    config = ModelConfig.from_released(data) if released else ModelConfig.from_json(data)
    names = RSUNIVLM.stored_names(config) if released else None
    used = {key: tensor for key, tensor in state.items() if not (released and re.fullmatch(RSUNIVLM.unused, key))}
    check_shapes({key: tuple(tensor.shape) for key, tensor in used.items()}, config, names)
    state = {name: state[key] for name, key in names.items() if key in state} if names else state
    if config.decoder.tie_embeddings:
        state[HEAD] = state["decoder.embed_tokens.weight"]
    model = VLM(config).eval()
    model.load_state_dict(
        {name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    )
    return model

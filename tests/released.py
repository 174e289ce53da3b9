"""Checkpoint folders in the layouts that others publish, with random weights of our own network."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer

from model.config import DecoderConfig, ModelConfig, VisionConfig
from model.vlm import VLM
from model.weights import RSUNIVLM, Layout
from rsvlm_cli.runtime.bundle import ImageSpec
from rsvlm_cli.runtime.preprocess import prepare
from tests.bundle_factory import make_tokenizer

IMAGE_SLOT = -200
GENERATION = {"do_sample": True, "repetition_penalty": 1.1, "temperature": 0.7, "top_k": 20, "top_p": 0.8}


def released_tokenizer() -> Tokenizer:
    """A byte-level BPE with the special tokens of Qwen2 and LLaVA."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens([AddedToken("<image>", special=True)])
    return tokenizer


VISION = VisionConfig(image_size=30, patch_size=7, hidden_size=40, intermediate_size=64, layers=2, heads=4)
DECODER = DecoderConfig(
    vocab_size=released_tokenizer().get_vocab_size() + 5,
    hidden_size=96,
    intermediate_size=64,
    layers=2,
    heads=6,
    kv_heads=3,
)


def released_config(config: ModelConfig) -> dict:
    """Return a ``config.json`` of the released form."""
    v, d = config.vision, config.decoder
    return {
        "architectures": ["LlavaQwenGMoeForCausalLM"],
        "model_type": "llava_qwen_gmoe",
        "hidden_act": "silu",
        "hidden_size": d.hidden_size,
        "intermediate_size": d.intermediate_size,
        "num_hidden_layers": d.layers,
        "num_attention_heads": d.heads,
        "num_key_value_heads": d.kv_heads,
        "vocab_size": d.vocab_size,
        "rms_norm_eps": d.rms_norm_eps,
        "rope_theta": d.rope_theta,
        "rope_scaling": None,
        "tie_word_embeddings": d.tie_embeddings,
        "image_aspect_ratio": "square",
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "use_sliding_window": False,
        "max_position_embeddings": 32768,
        "eos_token_id": released_tokenizer().token_to_id("<|im_end|>"),
        "vision_config": {
            "hidden_size": v.hidden_size,
            "intermediate_size": v.intermediate_size,
            "num_hidden_layers": v.layers + 1,
            "num_attention_heads": v.heads,
            "num_channels": 3,
            "image_size": v.image_size,
            "patch_size": v.patch_size,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": v.layer_norm_eps,
        },
    }


def released_state(model: VLM, layout: Layout = RSUNIVLM) -> dict[str, torch.Tensor]:
    """Return a model's tensors by the names of a layout, the tower's unused norm included."""
    names = layout.stored_names(model.config)
    state = {names[name]: tensor.clone() for name, tensor in model.state_dict().items()}
    if model.config.decoder.tie_embeddings:
        del state[layout.head]
    for part in ("weight", "bias"):
        state[f"{layout.tower}post_layernorm.{part}"] = torch.ones(model.config.vision.hidden_size)
    return state


def write_released(folder: Path, model: VLM) -> Path:
    """Write a whole released checkpoint."""
    folder.mkdir(parents=True)
    tokenizer = released_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(released_config(model.config)))
    ends = [tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    (folder / "generation_config.json").write_text(json.dumps(GENERATION | {"eos_token_id": ends}))
    save_file(released_state(model), folder / "model.safetensors")
    return folder


def write_expected(folder: Path, model: VLM, sizes: list[list[tuple[int, int]]], n_greedy: int = 16) -> Path:
    """Record what the network answers, in the form of the fixture; ``sizes`` are (height, width), case by case."""
    rng, side = np.random.default_rng(3), model.config.vision.image_size
    image = ImageSpec(size=(side, side), mean=(0.5,) * 3, std=(0.5,) * 3, tokens=model.config.image_tokens)
    cases = []
    for number, pictures in enumerate(sizes):
        names, pixels = [], []
        for k, size in enumerate(pictures):
            picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            names.append(f"case{number}_image{k}.png")
            Image.fromarray(picture).save(folder / names[-1])
            pixels.append(prepare(picture, image))
        words = rng.integers(0, model.config.decoder.vocab_size, 12).tolist()
        ids = [*words[:4], *[IMAGE_SLOT] * len(pictures), *words[4:]]
        granularity = {}
        for expert in range(model.config.decoder.experts):
            greedy, logits = model.generate_greedy(
                torch.tensor(ids), torch.from_numpy(np.stack(pixels)), expert, n_greedy
            )
            granularity[str(expert)] = {
                "last_logits": [round(v, 5) for v in logits[:64].tolist()],
                "greedy": greedy,
            }
        cases.append({"images": names, "input_ids": ids, "granularity": granularity})
    path = folder / "expected.json"
    path.write_text(json.dumps({"cases": cases, "note": "first 64 logits at the last prompt position"}))
    return path

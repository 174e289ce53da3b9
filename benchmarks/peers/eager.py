"""transformers without compilation, in float32 or bfloat16, with the attention that it takes by itself."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import DynamicCache, Qwen2ForCausalLM, SiglipVisionModel

from benchmarks.peers.plan import CHOICES, REPLY, TEXT_IDS, normalise, prompt_ids

PROJECTOR = "projector.safetensors"


class EagerDecoder:
    """A Qwen2 and its cache."""

    def __init__(self, model: Path, dtype: torch.dtype) -> None:
        self.model = Qwen2ForCausalLM.from_pretrained(model, dtype=dtype).eval()
        self.prompt = torch.from_numpy(prompt_ids())

    @torch.inference_mode()
    def feed(self, ids: torch.Tensor) -> torch.Tensor:
        """Compute tokens ``(T,)`` behind those in the cache and return the last one's logits ``(V,)``."""
        return self.model(input_ids=ids[None], past_key_values=self.cache, use_cache=True, logits_to_keep=1).logits[
            0, 0
        ]

    def prefill(self) -> None:
        """Compute the prompt."""
        self.cache = DynamicCache(config=self.model.config)
        self.next = self.feed(self.prompt).argmax()

    def decode(self) -> int:
        """Compute the likeliest tokens behind the prompt."""
        token = self.next
        for _ in range(REPLY):
            token = self.feed(token[None]).argmax()
        return REPLY

    def scores(self) -> np.ndarray:
        """Compute the text alone."""
        self.cache = DynamicCache(config=self.model.config)
        return self.feed(torch.tensor(TEXT_IDS))[: len(CHOICES)].float().numpy()


class EagerTower:
    """A SigLIP tower without its last norm, and the projector."""

    def __init__(self, model: Path, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.tower = SiglipVisionModel.from_pretrained(model, dtype=dtype).eval()
        # transformers 4 has a layer between.
        getattr(self.tower, "vision_model", self.tower).post_layernorm = torch.nn.Identity()
        weights = load_file(model / PROJECTOR)
        (hidden, width), square = weights["0.weight"].shape, weights["2.weight"].shape
        self.projector = torch.nn.Sequential(torch.nn.Linear(width, hidden), torch.nn.GELU(), torch.nn.Linear(*square))
        self.projector.load_state_dict(weights)
        self.projector.to(dtype)

    @torch.inference_mode()
    def encode(self, tile: np.ndarray) -> np.ndarray:
        """Run tower and projector."""
        pixels = torch.from_numpy(normalise(tile)).to(self.dtype)
        return self.projector(self.tower(pixel_values=pixels).last_hidden_state)[0].float().numpy()


def open_decoder(model: Path, option: str, threads: int) -> EagerDecoder:
    """Open the model; ``option`` is its type."""
    torch.set_num_threads(threads)
    return EagerDecoder(model, getattr(torch, option))


def open_tower(model: Path, option: str, threads: int) -> EagerTower:
    """Open the tower; ``option`` is its type."""
    torch.set_num_threads(threads)
    return EagerTower(model, getattr(torch, option))

"""onnxruntime-genai: the graph of its own builder in its own generator."""

import json
from pathlib import Path

import numpy as np
import onnxruntime_genai as genai

from benchmarks.peers.plan import CHOICES, REPLY, TEXT_IDS, prompt_ids

SLOTS = 1024


class GenaiDecoder:
    """A model, and a generator for each prompt."""

    def __init__(self, model: Path, threads: int) -> None:
        config = genai.Config(str(model))
        session = {"session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": session}}))
        self.model = genai.Model(config)

    def begin(self, ids: np.ndarray) -> None:
        """Compute a prompt."""
        parameters = genai.GeneratorParams(self.model)
        parameters.set_search_options(max_length=SLOTS, min_length=SLOTS, do_sample=False)
        self.generator = genai.Generator(self.model, parameters)
        self.generator.append_tokens(ids.astype(np.int32))

    def prefill(self) -> None:
        """Compute the prompt and choose a token."""
        self.begin(prompt_ids())
        self.generator.generate_next_token()

    def decode(self) -> int:
        """Compute the likeliest tokens behind the prompt."""
        for _ in range(REPLY):
            self.generator.generate_next_token()
        return REPLY

    def scores(self) -> np.ndarray:
        """Compute the text alone."""
        self.begin(np.array(TEXT_IDS))
        logits: np.ndarray = self.generator.get_logits()
        return logits.reshape(-1)[: len(CHOICES)].copy()


def open_decoder(model: Path, option: str, threads: int) -> GenaiDecoder:
    """Open the model."""
    return GenaiDecoder(model, threads)

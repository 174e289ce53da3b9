"""llama.cpp by its C interface, as its own bench tool drives it; flash attention is on, which is its faster way."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np

from benchmarks.peers.plan import CHOICES, REPLY, TEXT_IDS, prompt_ids

SLOTS = 1024


class LlamaDecoder:
    """A model and a context of it."""

    def __init__(self, model: Path, threads: int) -> None:
        silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
        self.silent = silent  # the library keeps a bare pointer to it
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(str(model).encode(), llama_cpp.llama_model_default_params())
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = SLOTS
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        settings.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        if not self.context:
            raise SystemExit(f"{model}: llama.cpp cannot open it")
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.next = 0

    def feed(self, ids: Sequence[int], first: int) -> np.ndarray:
        """Forget what stands from position ``first`` on, compute tokens there, and return the last one's logits."""
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self.context), 0, first, -1)
        tokens = (llama_cpp.llama_token * len(ids))(*ids)  # a batch keeps a bare pointer to them
        if llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(tokens, len(ids))) != 0:
            raise SystemExit("llama_decode failed")
        logits: np.ndarray = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, -1), (self.n_vocab,))
        return logits

    def prefill(self) -> None:
        """Compute the prompt."""
        self.ids = [int(number) for number in prompt_ids()]
        self.next = int(self.feed(self.ids, 0).argmax())

    def decode(self) -> int:
        """Compute the likeliest tokens behind the prompt."""
        token = self.next
        for step in range(REPLY):
            token = int(self.feed([token], len(self.ids) + step).argmax())
        return REPLY

    def scores(self) -> np.ndarray:
        """Compute the text alone."""
        return self.feed(TEXT_IDS, 0)[: len(CHOICES)].copy()


def open_decoder(model: Path, option: str, threads: int) -> LlamaDecoder:
    """Open the model."""
    return LlamaDecoder(model, threads)

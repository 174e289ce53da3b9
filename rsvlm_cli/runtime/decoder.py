"""The decoder graph with its cache: vectors in, logits out, and rolling back.

Axes: T tokens of one call, C slots of the cache, V vocabulary. One sequence at a time.

The cache remembers which tokens it holds, as keys: a token id (0 or more), a vector of an image (below 0, unique to
that image), or whatever else says exactly what was fed. So a new prompt over the same images and expert keeps the
common prefix, images first, and computes the rest.
"""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import onnxruntime as ort

from rsvlm_cli.runtime.bundle import DecoderSpec

SLOTS_STEP = 256
"""Slots are made in steps of this: a step's buffers cost 1 MiB with ``nano`` and 6 MiB with the 1B model."""


class Decoder:
    """One decoder session and the tokens it holds.

    Args:
        session: of ``decoder.onnx`` (docs/bundle-format.md, graph contract).
        spec: the decoder's sizes.
        max_context: the most tokens that the cache may hold.
        device: where the cache lies.
    """

    def __init__(
        self, session: ort.InferenceSession, spec: DecoderSpec, max_context: int, device: Literal["cpu", "cuda"]
    ) -> None:
        self._session, self._spec, self._max_context, self._device = session, spec, max_context, device
        self._caches = [f"{i}.{kind}" for i in range(spec.layers) for kind in ("key", "value")]
        self._buffers: list[ort.OrtValue] = []
        self._binding = session.io_binding()
        self._n_slots = 0
        self._keys: list[Hashable] = []
        self._expert = -1
        self._many = "n_logits" in {item.name for item in session.get_inputs()}

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return len(self._keys)

    def keep_prefix(self, keys: Sequence[Hashable], expert: int, most: int) -> int:
        """Roll back to what the cache has in common with a sequence, up to ``most`` tokens, and return how much."""
        common = 0
        if expert == self._expert:
            limit = min(len(self._keys), most)
            while common < limit and self._keys[common] == keys[common]:
                common += 1
        self.roll_back(common)
        self._expert = expert
        return common

    def roll_back(self, length: int) -> None:
        """Forget every token from ``length`` on."""
        del self._keys[length:]

    def feed(self, keys: Sequence[Hashable], vectors: np.ndarray, n_logits: int = 1) -> np.ndarray:
        """Append tokens and return the logits after the last ones.

        Args:
            keys: of the tokens, ``T`` of them, at least one.
            vectors: ``(T, hidden)`` float32, their embeddings.
            n_logits: after how many of them, counted from the end, at most ``T``.

        Returns:
            ``(n_logits, V)`` float32.
        """
        length = len(self._keys) + len(keys)
        self._reserve(length)
        binding = self._binding
        binding.bind_cpu_input("inputs_embeds", vectors[None])
        binding.bind_cpu_input("expert", np.array([self._expert], np.int64))
        binding.bind_cpu_input("seqlens_k", np.array([length - 1], np.int32))
        binding.bind_cpu_input("total_sequence_length", np.array(length, np.int32))
        if self._many:
            binding.bind_cpu_input("n_logits", np.array(n_logits, np.int64))
        logits = np.empty((n_logits, self._spec.vocab), np.float32)
        binding.bind_ortvalue_output("logits", ort.OrtValue.ortvalue_from_numpy(logits[None]))  # over the same memory
        self._session.run_with_iobinding(binding)
        self._keys.extend(keys)
        return logits

    def _reserve(self, length: int) -> None:
        """Make room for so many tokens; what is in the cache moves along."""
        if length <= self._n_slots:
            return
        # Half as much again, so that a long reply moves its cache a few times only.
        wanted = max(length, self._n_slots * 3 // 2)
        n_slots = min(-(-wanted // SLOTS_STEP) * SLOTS_STEP, max(self._max_context, length))
        spec, held, larger = self._spec, len(self._keys), list[ort.OrtValue]()
        for i in range(len(self._caches)):
            room = np.zeros((1, spec.kv_heads, n_slots, spec.head_dim), np.float32)
            if held:
                room[:, :, :held] = self._buffers[i].numpy()[:, :, :held]
            larger.append(ort.OrtValue.ortvalue_from_numpy(room, self._device, 0))
        # All or none: the binding does not keep the memory that it points to, the buffers do.
        self._buffers, self._n_slots = larger, n_slots
        # Bound once: what a token's call binds, it pays for.
        for name, buffer in zip(self._caches, self._buffers, strict=True):
            self._binding.bind_ortvalue_input(f"past_key_values.{name}", buffer)
            self._binding.bind_ortvalue_output(f"present.{name}", buffer)

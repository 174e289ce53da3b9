"""Choosing the next token, and what its choice was worth."""

from dataclasses import dataclass

import numpy as np

from rsvlm_cli.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 takes the most probable token; above 0, logits are divided by it and a token is drawn.
        top_k: draw from the k most probable tokens; 0 from all.
        top_p: draw from the fewest tokens whose probabilities sum to this, in (0, 1].
        seed: of the draw; None for a fresh one.
        repetition_penalty: for tokens generated before; None takes the bundle's, or 1 (none) under a grammar, where
            structure repeats by law.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    repetition_penalty: float | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the value and its range.
        """
        if self.temperature < 0:
            raise UsageError(f"temperature {self.temperature}, wanted 0 (most probable) or more")
        if self.top_k < 0:
            raise UsageError(f"top-k {self.top_k}, wanted 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top-p {self.top_p}, wanted above 0 and at most 1")
        if self.repetition_penalty is not None and self.repetition_penalty <= 0:
            raise UsageError(f"repetition penalty {self.repetition_penalty}, wanted above 0 (1 is none)")


class Sampler:
    """Chooses the tokens of one reply.

    Args:
        sampling: how.
        repetition_penalty: for tokens chosen before: positive logits are divided by it, negative ones multiplied. The
            prompt's tokens do not count, as in transformers where the prompt is passed as embeddings.
    """

    def __init__(self, sampling: Sampling, repetition_penalty: float) -> None:
        self._sampling, self._penalty = sampling, repetition_penalty
        self._rng = np.random.default_rng(sampling.seed)
        self._used: set[int] = set()

    def choose(self, logits: np.ndarray, ids: np.ndarray | None) -> tuple[int, np.ndarray]:
        """Choose among the admissible tokens.

        Args:
            logits: ``(vocab,)`` float32.
            ids: ``(n,)`` int64, the admissible tokens, or None for all.

        Returns:
            The index of the choice in ``ids`` (or the vocabulary), and ``(n,)`` float64 log-probabilities of the
            distribution over ``ids`` as the model gives it, before penalty, temperature and cuts.
        """
        admissible = logits if ids is None else logits[ids]
        logprobs = log_softmax(admissible)
        scores = logprobs if self._penalty == 1 else self._penalised(logits, ids)
        if self._sampling.temperature == 0:
            return int(scores.argmax()), logprobs
        return self._draw(scores.astype(np.float64) / self._sampling.temperature), logprobs

    def record(self, token_id: int) -> None:
        """Count a token as generated."""
        self._used.add(token_id)

    def _penalised(self, logits: np.ndarray, ids: np.ndarray | None) -> np.ndarray:
        scores = logits.copy()
        used = np.fromiter(self._used, np.int64, len(self._used))
        scores[used] = np.where(scores[used] < 0, scores[used] * self._penalty, scores[used] / self._penalty)
        return scores if ids is None else scores[ids]

    def _draw(self, scores: np.ndarray) -> int:
        order = np.argsort(-scores, kind="stable")
        if self._sampling.top_k:
            order = order[: self._sampling.top_k]
        probabilities = np.exp(log_softmax(scores[order]))
        if self._sampling.top_p < 1:
            before = np.cumsum(probabilities) - probabilities
            order = order[before < self._sampling.top_p]
            probabilities = probabilities[: len(order)] / probabilities[: len(order)].sum()
        return int(self._rng.choice(order, p=probabilities))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` float64 log-probabilities.

    Of float32 logits they are exact to about 2e-6, and a vocabulary takes two thirds of the time that doubles would.
    """
    shifted = logits - logits.max()
    logprobs: np.ndarray = shifted.astype(np.float64) - np.log(np.exp(shifted).sum(dtype=np.float64))
    return logprobs

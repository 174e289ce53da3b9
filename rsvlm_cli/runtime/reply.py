"""A reply: its tokens, what each was worth, and its text as it grows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rsvlm_cli.runtime.tokenizer import TextStream, Tokenizer

CHOICES_KEPT = 128
"""Up to so many admissible tokens, a step keeps the whole distribution; the numbers to 100 are as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One token of a reply.

    Attributes:
        token_id: of the token.
        text: what it adds to the reply; empty where it ends within a character.
        logprob: natural logarithm of its probability among the admissible tokens, before penalty and temperature.
        choices: where at most 128 tokens were admissible, each one's own text and probability, most probable first; the
            empty text is the end of the reply.
    """

    token_id: int
    text: str
    logprob: float
    choices: tuple[tuple[str, float], ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A reply.

    Attributes:
        text: the whole of it, without the stop token.
        token_ids: its tokens, without the stop token.
        steps: one for each token.
        finish: ``stop``, or ``length`` where the budget or the context ended first.
    """

    text: str
    token_ids: tuple[int, ...]
    steps: tuple[Step, ...]
    finish: Literal["stop", "length"]


class ReplyBuilder:
    """A reply as it grows.

    Args:
        tokenizer: whose tokens come.
        stop_ids: tokens that end a reply.
        on_text: is given each piece of text as soon as it is certain.
    """

    def __init__(self, tokenizer: Tokenizer, stop_ids: tuple[int, ...], on_text: Callable[[str], None] | None) -> None:
        self.steps: list[Step] = []
        self._tokenizer, self._stop_ids, self._on_text = tokenizer, stop_ids, on_text
        self._stream = TextStream(tokenizer)
        self._text: list[str] = []

    def append(self, token: int, logprobs: np.ndarray, index: int, ids: np.ndarray | None) -> None:
        """Add a token, chosen at ``index`` of the admissible ``ids`` (None for all)."""
        text = self._say(self._stream.push(token))
        choices = self._choices(np.exp(logprobs), ids) if ids is not None and len(ids) <= CHOICES_KEPT else None
        self.steps.append(Step(token_id=token, text=text, logprob=float(logprobs[index]), choices=choices))

    def close(self, finish: Literal["stop", "length"]) -> Generation:
        """Return the reply."""
        self._say(self._stream.finish())
        ids = tuple(step.token_id for step in self.steps)
        return Generation(text="".join(self._text), token_ids=ids, steps=tuple(self.steps), finish=finish)

    def _say(self, text: str) -> str:
        if text:
            self._text.append(text)
            if self._on_text:
                self._on_text(text)
        return text

    def _choices(self, probabilities: np.ndarray, ids: np.ndarray) -> tuple[tuple[str, float], ...]:
        shares: dict[str, float] = {}
        for token, probability in zip(ids.tolist(), probabilities.tolist(), strict=True):
            text = "" if token in self._stop_ids else self._tokenizer.token_bytes(token).decode("utf-8", "replace")
            shares[text] = shares.get(text, 0.0) + probability
        return tuple(sorted(shares.items(), key=lambda share: -share[1]))

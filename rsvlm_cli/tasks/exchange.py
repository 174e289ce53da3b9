"""What every task hands to the engine and gets back, without knowing the engine.

A task is a pair of functions: one builds a `Request` from the dialect and the user's words, one reads the `Reply` into
results in the model's frame: shares of the picture in [0, 1], origin upper left. `rsvlm_cli.pipeline` puts the engine
between the two and carries the results to the raster's pixels.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rsvlm_cli.errors import ReplyTruncated
from rsvlm_cli.results import Answer
from rsvlm_cli.tasks.dialect import GRANULARITY, Dialect, PromptKind
from rsvlm_cli.tasks.grammar import BoxFrac
from rsvlm_cli.tasks.quads import QuadFrac

TEXT_TOKENS = 160
"""Budget of a free text; captions of the training sets end long before it."""

_DIRECTION = re.compile(
    r"\b((left|right|top|bottom|upper|lower)(most)?|above|below|(north|south|east|west)\w*|horizontal|vertical"
    r"|corner|edge|facing)\b",
    re.IGNORECASE,
)


class Step(Protocol):
    """One decoded token.

    Attributes:
        text: what it adds to the reply.
        logprob: natural logarithm of its probability.
        choices: the admissible tokens ``(text, probability)``, most probable first, or None where none were kept.
    """

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def logprob(self) -> float: ...  # noqa: D102
    @property
    def choices(self) -> tuple[tuple[str, float], ...] | None: ...  # noqa: D102


class Reply(Protocol):
    """A decoded reply; ``finish`` is ``stop``, or ``length`` where the budget ended first."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def steps(self) -> Sequence[Step]: ...  # noqa: D102
    @property
    def finish(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing to ask of the engine.

    Attributes:
        prompt: the whole prompt, image placeholders included.
        expert: the expert that serves it.
        grammar: the automaton that the reply must follow, or None for free text.
        candidates: where given, nothing is decoded: the likelihood of each text as the whole reply is asked for.
        choices: where given, nothing is decoded: each visual token is fed once more and read among these texts.
        max_new_tokens: the budget.
        upright: what is asked speaks of directions, so a turned picture would answer something else.
    """

    prompt: str
    expert: int
    # The automata differ in their state's type; the engine only hands a state back to the automaton that made it.
    grammar: Any = None
    candidates: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    max_new_tokens: int = TEXT_TOKENS
    upright: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBox:
    """A box in the model's frame, with the score of `rsvlm_cli.results.Box`; of a turned one, hull and vertices."""

    label: str
    box_frac: BoxFrac
    quad_frac: QuadFrac | None = None
    score: float
    score_method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMask:
    """One label's mask in the model's frame.

    Attributes:
        label: what is masked.
        p_set: ``(grid, grid)`` float32 in [0, 1], the probability that a cell is of the label; row 0 at the top.
        score_method: how it was made.
    """

    label: str
    p_set: np.ndarray
    score_method: str


def build_request(dialect: Dialect, kind: PromptKind, *, n_images: int = 1, **fields: str) -> Request:
    """Return the request for a kind of prompt as free text; `dataclasses.replace` adds a grammar."""
    prompt = dialect.prompt(kind, n_images=n_images, **fields)
    upright = any(_DIRECTION.search(words) for words in fields.values())
    return Request(prompt=prompt, expert=int(GRANULARITY[kind]), upright=upright)


def read_text(reply: Reply, question: str | None = None) -> Answer:
    """Read a free text; its score is the geometric mean of its tokens' probabilities."""
    return Answer(
        text=reply.text.strip(),
        question=question,
        score=mean_probability(step.logprob for step in reply.steps),
        score_method="mean token probability",
        truncated=reply.finish == "length",
    )


def mean_probability(logprobs: Iterable[float]) -> float | None:
    """Return the geometric mean of probabilities given as logarithms, or None of none."""
    values = list(logprobs)
    return math.exp(sum(values) / len(values)) if values else None


def normalise(logprobs: Sequence[float]) -> np.ndarray:
    """Turn log-likelihoods into shares that sum to one, ``(n,)`` float64."""
    weights: np.ndarray = np.exp(np.asarray(logprobs, np.float64) - np.max(logprobs))
    weights /= weights.sum()
    return weights


def require_whole(reply: Reply, what: str) -> None:
    """Refuse a reply that was cut where a part of it means nothing.

    Raises:
        ReplyTruncated: if the budget ended first.
    """
    if reply.finish == "length":
        raise ReplyTruncated(f"the {what} was cut after {len(reply.steps)} tokens; raise --max-tokens")

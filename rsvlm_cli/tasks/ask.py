"""Questions about a picture: yes or no, how many, or open."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rsvlm_cli.results import Answer
from rsvlm_cli.tasks.cells import REACHES
from rsvlm_cli.tasks.dialect import BoxStyle, Dialect, PromptKind
from rsvlm_cli.tasks.exchange import TEXT_TOKENS, Reply, Request, build_request, normalise, read_text
from rsvlm_cli.tasks.grammar import Count

YES_NO = ("yes", "no")

_AUXILIARIES = ("is", "are", "was", "were", "does", "do", "did", "has", "have", "had", "can", "could", "will", "would")
_YES_NO_FIRST = frozenset(word + negation for word in _AUXILIARIES for negation in ("", "n't"))

_COUNT = r"\bhow many\b|\bthe number of\b|^what number of\b|^(please )?count\b"


def is_yes_no(question: str) -> bool:
    """Say whether a question wants yes or no: by its first word, unless it offers a choice ("urban or rural?")."""
    words = question.lower().strip(" ?!.").split()
    return bool(words) and words[0] in _YES_NO_FIRST and "or" not in words


def is_count(question: str) -> bool:
    """Say whether a question wants a number of things."""
    return re.search(_COUNT, " ".join(question.lower().split())) is not None


def request(dialect: Dialect, question: str, *, n_images: int = 1) -> Request:
    """Build the request; the question's form decides what may be answered."""
    asked = build_request(dialect, PromptKind.ASK, n_images=n_images, question=question)
    if is_count(question) and dialect.box_style is BoxStyle.REACH:
        # The family has one token for each number, so all of them are weighed at once.
        return replace(asked, choices=REACHES)
    return form_of(question, asked)


def form_of(question: str, asked: Request) -> Request:
    """Bind a request's reply to the form that a question wants: yes or no, a number, or free text."""
    if is_yes_no(question):
        return replace(asked, candidates=YES_NO)
    if is_count(question):
        return replace(asked, grammar=Count(), max_new_tokens=Count().max_digits + 1)
    return replace(asked, max_new_tokens=TEXT_TOKENS)


def read_yes_no(question: str, logprobs: Sequence[float]) -> Answer:
    """Read the likelihoods of yes and no, in this order."""
    shares = normalise(logprobs)
    best = int(shares.argmax())
    return Answer(text=YES_NO[best], question=question, score=float(shares[best]), score_method="p(answer | yes or no)")


def read_number(question: str, shares: np.ndarray) -> Answer:
    """Read how probable each number of `REACHES` is; the answer is the median, which errs least."""
    median = int(np.searchsorted(shares.cumsum(), 0.5))
    score, method = float(shares[median]), "p(number), at its median"
    return Answer(text=REACHES[median], question=question, score=score, score_method=method)


def read(question: str, reply: Reply) -> Answer:
    """Read a decoded answer: a number, or free text."""
    answer = read_text(reply, question)
    if not is_count(question):
        return answer
    p_digits = math.exp(sum(step.logprob for step in reply.steps))
    return replace(answer, score=p_digits, score_method="p(digits | any number)")

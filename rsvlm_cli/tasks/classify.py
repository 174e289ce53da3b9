"""Which of the offered labels a picture is, by likelihood."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rsvlm_cli.results import ClassScores
from rsvlm_cli.tasks.dialect import Dialect, PromptKind
from rsvlm_cli.tasks.exchange import Request, build_request, normalise


def request(dialect: Dialect, labels: Sequence[str]) -> Request:
    """Build the request for the likelihood of each label as the whole reply."""
    return replace(build_request(dialect, PromptKind.CLASSIFY), candidates=tuple(labels))


def read(labels: Sequence[str], logprobs: Sequence[float]) -> ClassScores:
    """Read the log-likelihoods of the labels, in their order."""
    return rank(labels, normalise(logprobs), "likelihood of the whole label, shared among the labels offered")


def read_head(labels: Sequence[str], shares: np.ndarray) -> ClassScores:
    """Read what the tower's head says of the labels, in their order."""
    return rank(labels, shares, "p(scene), said by the tower's head, shared among the labels offered")


def rank(labels: Sequence[str], shares: np.ndarray, score_method: str) -> ClassScores:
    """Put labels in the order of their shares."""
    order = np.argsort(-shares, kind="stable")
    return ClassScores(
        labels=tuple(labels[i] for i in order),
        probabilities=tuple(float(shares[i]) for i in order),
        score_method=score_method,
    )

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
    shares = normalise(logprobs)
    order = np.argsort(-shares, kind="stable")
    return ClassScores(
        labels=tuple(labels[i] for i in order),
        probabilities=tuple(float(shares[i]) for i in order),
        score_method="likelihood of the whole label, shared among the labels offered",
    )

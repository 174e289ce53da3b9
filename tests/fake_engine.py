"""An engine that answers from a queue, with the shape of `rsvlm_cli.runtime.engine.Engine`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rsvlm_cli.tasks.dialect import NANO, BoxStyle, MaskStyle

WRITTEN = replace(NANO, no_boxes="none", box_style=BoxStyle.CORNERS, mask_style=MaskStyle.QUADRANTS, mask_grid=24)
"""A family that writes what the embedded one reads."""


@dataclass(frozen=True)
class FakeStep:
    text: str
    p: float = 1.0
    choices: tuple[tuple[str, float], ...] | None = None
    token_id: int = 0

    @property
    def logprob(self) -> float:
        return math.log(self.p)


@dataclass(frozen=True)
class FakeReply:
    steps: tuple[FakeStep, ...]
    finish: str = "stop"

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps)

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(step.token_id for step in self.steps)


def spell(text: str, p: float = 1.0) -> FakeReply:
    """Return a reply of one token a character, all with the same probability."""
    return FakeReply(tuple(FakeStep(char, p) for char in text))


class Pictures(list[np.ndarray]):
    """Features that are the pictures themselves."""

    @property
    def n_bytes(self) -> int:
        return sum(picture.nbytes for picture in self)

    def join(self, later: "Pictures") -> "Pictures":
        return Pictures([*self, *later])


@dataclass
class FakeEngine:
    """Gives its replies in turn; a list of floats answers `score`. Records what it was asked."""

    replies: list[Any]
    calls: list[dict[str, Any]] = field(default_factory=list)
    n_encoded: int = 0
    tokens_fed: int = 0

    def encode_images(self, images: Sequence[np.ndarray]) -> Pictures:
        for image in images:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
        self.n_encoded += len(images)
        return Pictures(images)

    def generate(self, features: Any, prompt: str, expert: int, **options: Any) -> FakeReply:
        self.calls.append({"prompt": prompt, "expert": expert, "features": features, **options})
        reply = self._next()
        if isinstance(reply, str):
            reply = spell(reply, 0.9)
        if options.get("on_text"):
            options["on_text"](reply.text)
        return reply

    def score(self, features: Any, prompt: str, expert: int, candidates: Sequence[str]) -> list[float]:
        self.calls.append({"prompt": prompt, "expert": expert, "features": features, "candidates": tuple(candidates)})
        return self._next()

    def _next(self) -> Any:
        self.tokens_fed += 10
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply

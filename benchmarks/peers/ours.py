"""Ours: the engine as the product opens and asks it, sampling, penalty and text included."""

import ctypes
from pathlib import Path

import numpy as np

from benchmarks.peers.plan import CHOICES, PICTURE, PROMPT, REPLY, TEXT, TEXT_IDS
from rsvlm_cli.runtime.bundle import read_bundle
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.runtime.features import ImageFeatures
from rsvlm_cli.runtime.ops import native_library

EXPERT = 0
"""The one whose weights the peers got."""


class OurDecoder:
    """An engine whose decoder is open."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.prompt = engine.manifest.image_token + TEXT
        self.vectors = np.random.default_rng(0).standard_normal(
            (1, PICTURE, engine.manifest.decoder.hidden), np.float32
        )
        self.features = ImageFeatures.of(self.vectors)

    def prefill(self) -> None:
        """Ask for one token behind a picture that the cache does not know."""
        self.features = ImageFeatures.of(self.vectors)
        fed = self.engine.tokens_fed
        self.engine.generate(self.features, self.prompt, EXPERT, max_new_tokens=1)
        fed = self.engine.tokens_fed - fed
        if fed != PROMPT:
            raise SystemExit(f"{fed} tokens fed, wanted {PROMPT}")

    def decode(self) -> int:
        """Ask again: the cache holds all but the prompt's last token."""
        fed = self.engine.tokens_fed
        self.engine.generate(self.features, self.prompt, EXPERT, max_new_tokens=REPLY)
        return self.engine.tokens_fed - fed

    def scores(self) -> np.ndarray:
        """Read the probabilities of single characters."""
        engine = self.engine
        if tuple(engine.tokenizer.encode(TEXT)) != TEXT_IDS:
            raise SystemExit("the tokenizer is not the stand-in of benchmarks.full_size")
        choices = [chr(ord("!") + number) for number in CHOICES]
        return np.log(engine.read(engine.encode_images([]), TEXT, EXPERT, [], choices, 1)[0])


class OurTower:
    """An engine whose vision tower is open."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def encode(self, tile: np.ndarray) -> np.ndarray:
        """Encode a picture as it comes, preprocessing included."""
        return self.engine.encode_images([tile]).vectors[0]


def open_decoder(model: Path, option: str, threads: int) -> OurDecoder:
    """Open the decoder's graph, which an engine does when it first needs it.

    ``option`` names kernels that take the place of the best ones, if this CPU has them.
    """
    library = native_library()
    if option and library:
        ctypes.CDLL(str(library)).rsvlm_choose_kernels(option.encode())
    engine = Engine(read_bundle(model), device="cpu", threads=threads)
    _ = engine._decoder
    return OurDecoder(engine)


def open_tower(model: Path, option: str, threads: int) -> OurTower:
    """Open the tower's graph."""
    engine = Engine(read_bundle(model), device="cpu", threads=threads)
    _ = engine._vision
    return OurTower(engine)

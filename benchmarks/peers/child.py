"""One contender in a process of its own: open, run, print its times as JSON on the last line of stdout."""

import argparse
import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.peers.plan import EVERY, VISUAL_TOKENS, Decoder, Tower, make_tile


def time_decoder(decoder: Decoder, repeats: int) -> dict[str, Any]:
    """Take turns in prefill and decoding, the first turn uncounted; seconds a prefill and a token."""
    prefill, token = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        decoder.prefill()
        middle = time.perf_counter()
        n_tokens = decoder.decode()
        prefill.append(middle - start)
        token.append((time.perf_counter() - middle) / n_tokens)
    return {"prefill_s": prefill[1:], "token_s": token[1:], "answer": decoder.scores().tolist()}


def time_tower(tower: Tower, repeats: int) -> dict[str, Any]:
    """Encode the tile, the first time uncounted; seconds a tile."""
    tile, seconds = make_tile(), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        vectors = tower.encode(tile)
        seconds.append(time.perf_counter() - start)
    return {"tile_s": seconds[1:], "answer": vectors[:VISUAL_TOKENS].ravel()[::EVERY].tolist()}


def main() -> None:
    """Measure one contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["decoder", "tower"])
    parser.add_argument("module")
    parser.add_argument("model", type=Path)
    parser.add_argument("--option", default="")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    options = parser.parse_args()
    module = import_module(f"benchmarks.peers.{options.module}")
    start = time.perf_counter()
    opened = getattr(module, f"open_{options.part}")(options.model, options.option, options.threads)
    facts: dict[str, Any] = {"load_s": [time.perf_counter() - start]}
    facts |= (time_decoder if options.part == "decoder" else time_tower)(opened, options.repeats)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()

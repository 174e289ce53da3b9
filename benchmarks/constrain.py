"""What admissible tokens cost, beside llguidance: the figures of docs/adr/0003.

Needs ``pip install llguidance``. Run from the checkout's root: ``python -m benchmarks.constrain``.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from rsvlm_cli.runtime.constrain import ByteTrie, Constraint
from rsvlm_cli.runtime.tokenizer import Tokenizer
from rsvlm_cli.tasks.dialect import MaskStyle
from rsvlm_cli.tasks.grammar import QUADRANTS, BoxList, QuadrantMask, RunMask, format_mask
from train.tokenizer import train_tokenizer

BOXES = 'start: "none" | box (" " box){0,99}\nbox: "[" N ", " N ", " N ", " N "]"\nN: /0|[1-9][0-9]?|100/'
BLOCKS = f'start: line ("\\n" line){{11}}\nline: Q{{12}}\nQ: /[{QUADRANTS}]/'
WORDS = "ships in the harbour, roads and buildings beside water; [1, 20, 9, 30] others*21, water*3\n"


def write_vocabulary(path: Path, n_tokens: int) -> None:
    """Write a byte-level BPE of any size: a trained one, and merges of its tokens drawn at random."""
    data = json.loads(train_tokenizer([WORDS] * 50, 400).to_str())
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    rng, pool, free = np.random.default_rng(0), list(vocab), max(vocab.values()) + 1000
    ends = [letter for letter in vocab if len(letter) == 1]
    common = list("aeioustrnlc0123456789Ġ,[]*")
    while len(vocab) < n_tokens:
        left, right = pool[rng.integers(len(pool))], rng.choice(common if rng.random() < 0.7 else ends)
        if left + right not in vocab and len(left) < 12:
            vocab[left + str(right)], free = free, free + 1
            merges.append([left, str(right)])
            pool.append(left + str(right))
    path.write_text(json.dumps(data), encoding="utf-8")


def write_runs_grammar(labels: tuple[str, ...], grid: int = 24) -> str:
    """Return the run mask as Lark: one rule for each number of cells left and each last word."""
    words = ("others", *labels)
    lines = ["start: " + ' "\\n" '.join([f"r_{grid}_x"] * grid)]
    for left in range(1, grid + 1):
        for last in ["x"] if left == grid else range(len(words)):
            runs = [(i, n) for i in range(len(words)) if i != last for n in range(1, left + 1)]
            separator = "" if last == "x" else ", "
            rest = (f'"{separator}{words[i]}*{n}"' + (f" r_{left - n}_{i}" if n < left else "") for i, n in runs)
            lines.append(f"r_{left}_{last}: " + " | ".join(rest))
    return "\n".join(lines)


def write_ordered_boxes_grammar(scale: int) -> str:
    """Return boxes with x1 < x2 and y1 < y2 as Lark: one alternative for each first corner."""
    lines = ['start: box (" " box){0,99}', "box: " + " | ".join(f'"[{x}, " x_{x}' for x in range(scale))]
    lines += [f"x_{x}: " + " | ".join(f'"{y}, " A_{x} ", " A_{y} "]"' for y in range(scale)) for x in range(scale)]
    lines += [f"A_{v}: /" + "|".join(map(str, range(v + 1, scale + 1))) + "/" for v in range(scale)]
    return "\n".join(lines)


def time_ms(run: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return what a call gives, and its time."""
    start = time.perf_counter()
    given = run(*arguments)
    return given, 1e3 * (time.perf_counter() - start)


def build_matcher(tokenizer: LLTokenizer, lark: str) -> LLMatcher:
    """Return llguidance's automaton of a grammar."""
    return LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark))


def report(what: str, times_ms: list[float]) -> None:
    """Print one row."""
    mean, most, total = (f"{value:.3f}" for value in (np.mean(times_ms), max(times_ms), sum(times_ms)))
    print(f"{what:55} {len(times_ms):4} tokens, ms a token: mean {mean}, most {most}; all {total}")


def compare(n_tokens: int, path: Path) -> None:
    """Print the figures for one size of vocabulary."""
    write_vocabulary(path, n_tokens)
    tokenizer = Tokenizer(path)
    stop = tokenizer.token_id("<|im_end|>")
    vocabulary, ours_ms = time_ms(lambda: tokenizer.vocabulary)
    trie, trie_ms = time_ms(ByteTrie.root, vocabulary)
    theirs, theirs_ms = time_ms(lambda: LLTokenizer(path.read_text(encoding="utf-8"), eos_token=stop))
    print(f"{n_tokens} tokens: opened in {ours_ms + trie_ms:.1f} ms (ours), {theirs_ms:.1f} ms (llguidance)")
    cells = np.zeros((24, 24), bool)
    cells[5:15, 3:17] = cells[18:, 20:] = True
    cases: list[tuple[str, Any, str, str]] = [
        ("boxes", BoxList(scale=100, no_boxes="none"), BOXES, "[1, 20, 9, 30] [10, 50, 68, 98] [25, 3, 74, 100]"),
        ("quadrants", QuadrantMask(24), BLOCKS, format_mask(cells, MaskStyle.QUADRANTS, "")),
        ("runs", RunMask(24, ("water",)), write_runs_grammar(("water",)), format_mask(cells, MaskStyle.RUNS, "water")),
    ]
    for name, grammar, lark, text in cases:
        ids = tokenizer.encode(text)
        constraint = Constraint(grammar, vocabulary, trie, (stop,), tokenizer.encode)
        for turn in ("first reply", "again"):
            state, times = grammar.start(), []
            for token in ids:
                forced_ms = time_ms(constraint.forced, state)[1]
                admissible, ms = time_ms(constraint.admissible, state)
                assert token in admissible
                times.append(forced_ms + ms)
                state = constraint.advance(state, token)
            report(f"  {name}, ours, {turn}", times)
        matcher, built_ms = time_ms(build_matcher, theirs, lark)
        times = []
        for token in ids:
            times.append(time_ms(matcher.compute_bitmask)[1])
            assert matcher.consume_token(token)
        report(f"  {name}, llguidance, built in {built_ms:.1f} ms", times)


def try_large_grammars(path: Path) -> None:
    """Print what it costs to write our laws as Lark."""
    tokenizer = LLTokenizer(path.read_text(encoding="utf-8"), eos_token=0)
    laws = {f"runs, {n} labels": write_runs_grammar(tuple(f"class{i}" for i in range(n))) for n in (1, 3, 8, 15)}
    laws |= {f"ordered boxes, scale {scale}": write_ordered_boxes_grammar(scale) for scale in (10, 40, 100, 200)}
    for name, lark in laws.items():
        matcher, ms = time_ms(build_matcher, tokenizer, lark)
        outcome = matcher.get_error().splitlines()[0] if matcher.is_error() else f"built in {ms:.0f} ms"
        print(f"{name:30} {len(lark):9} characters: {outcome}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2_000, 150_000])
    sizes = parser.parse_args().tokens
    with TemporaryDirectory() as folder:
        for n_tokens in sizes:
            compare(n_tokens, Path(folder) / f"{n_tokens}.json")
        try_large_grammars(Path(folder) / f"{sizes[0]}.json")


if __name__ == "__main__":
    main()

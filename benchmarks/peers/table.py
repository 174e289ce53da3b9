"""What was measured, as Markdown.

A figure is the median over the rounds of a round's median. A ratio is the median of the rounds' own ratios, because
what else the machine did met all contenders of a round alike.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers.contenders import (
    DECODERS,
    LLAMA,
    ORT_TOWER,
    OURS,
    OURS_TOWER,
    PROTOTYPE,
    PROTOTYPE_TOWER,
    REFERENCE,
    TOWERS,
    Contender,
)
from benchmarks.peers.plan import PROMPT, REPLY, SIDE_PX
from benchmarks.peers.work import least_seconds
from model.config import ModelConfig

Facts = Mapping[str, Any]
Round = Mapping[str, Facts]
"""Contender, or `cold`, -> what it measured in one round."""

COLD = {bundle: f"cold start, {name.removeprefix('ours, ')}" for bundle, name in OURS.items()}
UNMEASURED = "-"


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that a run measured.

    Attributes:
        rounds: in order; each holds every contender that was measured.
        machine: what ``limits.cpp`` printed, the best of the rounds; empty where it cannot be compiled.
        sizes: of the model.
    """

    rounds: Sequence[Round]
    machine: Mapping[str, float]
    sizes: ModelConfig

    def measured(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Return those who were there."""
        return [contender for contender in contenders if contender.name in self.rounds[0]]

    def each(self, name: str, key: str) -> list[float]:
        """Return each round's median."""
        return [statistics.median(one[name][key]) for one in self.rounds]

    def middle(self, name: str, key: str) -> float:
        """Return the median."""
        return statistics.median(self.each(name, key))

    def ratio(self, name: str, to: str, key: str) -> float | None:
        """Return how many times as much one took as another, or None if either was not there."""
        if not {name, to} <= self.rounds[0].keys():
            return None
        return statistics.median([a / b for a, b in zip(self.each(name, key), self.each(to, key), strict=True)])

    def parts(self, decoder: str, tower: str) -> list[float]:
        """Return each round's sum of what a cold start is made of: opening, tile, prefill and 32 tokens."""
        keys = ((decoder, "load_s", 1), (tower, "load_s", 1), (tower, "tile_s", 1), (decoder, "prefill_s", 1))
        columns = [[n * s for s in self.each(name, key)] for name, key, n in (*keys, (decoder, "token_s", REPLY))]
        return [sum(row) for row in zip(*columns, strict=True)]

    def over_parts(self, bundle: str, decoder: str, tower: str) -> str:
        """Return how many times the sum of those parts a cold start takes."""
        if not {decoder, tower} <= self.rounds[0].keys():
            return UNMEASURED
        whole = self.each(COLD[bundle], "seconds")
        return f"{statistics.median([a / b for a, b in zip(whole, self.parts(decoder, tower), strict=True)]):.2f}"

    def reached(self, contender: Contender, key: str, *, matrix: bool) -> str:
        """Return how much of what is possible was reached, in percent."""
        if not self.machine:
            return UNMEASURED
        sizes = self.sizes
        least = least_seconds(contender, self.machine, sizes.decoder, sizes.vision, matrix=matrix)[key]
        return f"{100 * least / self.middle(contender.name, key):.0f} %"

    def agreement(self, contender: Contender) -> str:
        """Return the correlation of its answer with that of transformers in float32."""
        last, reference = self.rounds[-1], REFERENCE[contender.part]
        if reference not in last:
            return UNMEASURED
        return f"{np.corrcoef(last[contender.name]['answer'], last[reference]['answer'])[0, 1]:.3f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def times(ratio: float | None) -> str:
    """Return a ratio as text."""
    return UNMEASURED if ratio is None else f"{ratio:.2f}"


def stage_table(results: Results, contenders: Sequence[Contender], key: str, unit: str, ours: Sequence[str]) -> str:
    """Return the table of one stage: how long, how near to the limit, how much longer than ours."""
    by_memory = key == "token_s"
    limits = ["of the memory's limit"] if by_memory else ["of the limit", "of the vector units' limit"]
    rows = []
    for contender in results.measured(contenders):
        seconds = results.middle(contender.name, key)
        figure = f"{1 / seconds:.1f}" if by_memory else f"{seconds:.3f}"
        reached = [results.reached(contender, key, matrix=True)]
        reached += [] if by_memory else [results.reached(contender, key, matrix=False)]
        rows.append(
            [contender.name, figure, *reached, *(times(results.ratio(contender.name, name, key)) for name in ours)]
        )
    return table(["", unit, *limits, *(f"times as long as {name}" for name in ours)], rows)


def opening_table(results: Results) -> str:
    """Return the table of load times, peaks and answers."""
    rows = [
        [
            contender.name,
            f"{results.middle(contender.name, 'load_s'):.2f}",
            f"{results.middle(contender.name, 'peak_gb'):.2f}",
            f"{results.middle(contender.name, 'files_gb'):.2f}",
            results.agreement(contender),
        ]
        for contender in results.measured((*DECODERS, *TOWERS))
    ]
    return table(["", "load s", "peak GB", "files GB", "answers as float32 does"], rows)


def cold_table(results: Results) -> str:
    """Return the table of cold starts."""
    rows = [
        [
            name,
            f"{results.middle(name, 'seconds'):.2f}",
            f"{statistics.median(results.parts(OURS[bundle], OURS_TOWER)):.2f}",
            results.over_parts(bundle, OURS[bundle], OURS_TOWER),
            results.over_parts(bundle, PROTOTYPE, PROTOTYPE_TOWER),
            f"{results.middle(name, 'peak_gb'):.2f}",
        ]
        for bundle, name in COLD.items()
    ]
    return table(["", "s", "its parts s", "of its parts", "of the prototype's parts", "peak GB"], rows)


def goals_table(results: Results) -> str:
    """Return what was wanted beside what was measured."""
    rows = [
        [goal, wanted, *(cell(bundle) for bundle in OURS)]
        for goal, wanted, cell in (
            (
                "decode, times llama.cpp Q4_0",
                ">= 1.6 (aim 2)",
                lambda b: times(results.ratio(LLAMA, OURS[b], "token_s")),
            ),
            (
                f"prefill of {PROMPT}, times llama.cpp Q4_0",
                ">= 2.1 (aim 2.7)",
                lambda b: times(results.ratio(LLAMA, OURS[b], "prefill_s")),
            ),
            (
                "tile, times ONNX Runtime fp32",
                ">= 2.2",
                lambda b: times(results.ratio(ORT_TOWER, OURS_TOWER, "tile_s")),
            ),
            ("decoder's load, s", "< 0.3", lambda b: f"{results.middle(OURS[b], 'load_s'):.2f}"),
            (
                "cold start, of the prototype's parts",
                "<= 1.2",
                lambda b: results.over_parts(b, PROTOTYPE, PROTOTYPE_TOWER),
            ),
            ("cold start, peak GB", "< 1", lambda b: f"{results.middle(COLD[b], 'peak_gb'):.2f}"),
        )
    ]
    return table(["goal", "wanted", *(name.removeprefix("ours, ") for name in OURS.values())], rows)


def describe_machine(machine: Mapping[str, float]) -> str:
    """Return the machine's limits in a line."""
    if not machine:
        return "The machine's limits are not measured: there is no C++ compiler."
    giga = {key: f"{value / 1e9:.0f}" for key, value in machine.items()}
    line = f"Limits: memory {giga['read']} GB/s; registers, 10^9 operations a second: "
    line += ", ".join(f"{kind} {giga[kind]}" for kind in ("fp32", "bf16", "int8"))
    if machine["int8_matrix"]:
        line += f", with matrix units bf16 {giga['bf16_matrix']}, int8 {giga['int8_matrix']}"
    return line + "."


def page(results: Results, heading: str, notes: Sequence[str]) -> str:
    """Return the whole Markdown page."""
    ours = list(OURS.values())
    return "\n\n".join(
        [
            heading,
            describe_machine(results.machine),
            *notes,
            f"## Decode, {REPLY} tokens behind {PROMPT}",
            stage_table(results, DECODERS, "token_s", "tokens/s", ours),
            f"## Prefill of {PROMPT} tokens",
            stage_table(results, DECODERS, "prefill_s", "s", ours),
            f"## One tile of {SIDE_PX} px",
            stage_table(results, TOWERS, "tile_s", "s", [OURS_TOWER]),
            "## Opening, memory, answers",
            opening_table(results),
            f"## From a new process to {REPLY} tokens about one tile",
            cold_table(results),
            "## Goals",
            goals_table(results),
            "",
        ]
    )

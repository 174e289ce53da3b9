"""Three experts against one MLP of the same active size: the paper's question, on our data.

``python -m benchmarks.experts RUN --data PREPARED --out FOLDER --steps 300`` takes the dense checkpoint of a run of
``train/recipes/nano.toml`` and trains it on twice, from the same weights, on the same views, with the same rates: once
with three copies of its MLP, each for its granularity, once with the one it has. Both compute the same for every token.
Then both are asked about the same views of places that training never saw; what is compared is the loss of the
replies, batch by batch, so that a hard batch is hard for both. A run that was cut goes on: same command.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from train.config import Recipe, find_recipe
from train.data.mixture import Corpus
from train.learner import REPLY, counts_of
from train.loop import LAST, Run, Session, train
from train.metrics.intervals import drawn_scores, interval_of
from train.steps import Share, Steps
from train.tokenizer import TextCodec

THREE, ONE = "three experts", "one MLP"
SEED_APART = 77
"""Added to the recipe's seed for the views that are asked about."""


def branch(recipe: Recipe, dense: Path, steps: int, *, one: bool) -> Recipe:
    """Return a recipe that goes on from a dense checkpoint for some steps.

    Args:
        recipe: its last stage says how.
        dense: written at the end of the stage before.
        steps: of the last stage, in which the rate falls to nothing.
        one: keep one MLP instead of three.
    """
    at = torch.load(dense, map_location="cpu", weights_only=True)
    done = [*recipe.stages[: at["stage"]], replace(recipe.stages[at["stage"]], steps=at["step"])]
    last = replace(recipe.stages[-1], steps=steps, falls_until=0, dense=one)
    return replace(recipe, stages=(*done, last))


def train_on(recipe: Recipe, run: Path, dense: Path, data: Path, out: Path, *, compiled: bool) -> Run:
    """Train a branch to its end, or go on with it."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / LAST).exists():
        shutil.copyfile(dense, out / LAST)
    corpus = Corpus.load(data, recipe.mix.names, "train")
    return train(recipe, corpus, TextCodec.load(run / "tokenizer.json"), out, session=Session(compiled=compiled))


@torch.no_grad()
def losses(run: Run, steps: Steps, n_batches: int) -> dict[str, np.ndarray]:
    """Return each granularity's sum of losses and of weights a batch, ``(n_batches, 2)``; and ``all`` of them."""
    run.learner.eval()
    rows: dict[str, list[tuple[float, float]]] = {}
    for k in range(n_batches):
        (batch,) = steps[k]
        with torch.autocast("cpu", torch.bfloat16, enabled=run.recipe.precision == "bf16"):
            sums = run.learner(batch, steps.stage, steps.packer)
        counts = counts_of(batch)
        told = {name.removeprefix(f"{REPLY} "): name for name in sums if name.startswith(REPLY)}
        for short in ("image", "region", "pixel"):
            pair = (float(sums[told[short]]), counts[told[short]]) if short in told else (0.0, 0.0)
            rows.setdefault(short, []).append(pair)
    table = {short: np.array(pairs) for short, pairs in rows.items()}
    return table | {"all": np.sum(list(table.values()), axis=0)}


def compare(three: np.ndarray, one: np.ndarray) -> tuple[float, float, float, tuple[float, float]]:
    """Return both mean losses, their difference (below 0: three are better) and its 95 % interval, by batch."""

    def difference(counted: np.ndarray) -> float:
        a, b = counted @ three, counted @ one
        return float(a[0] / a[1] - b[0] / b[1])

    everything = np.ones(len(three))
    drawn = drawn_scores([str(k) for k in range(len(three))], difference)
    mean_three, mean_one = ((everything @ table)[0] / (everything @ table)[1] for table in (three, one))
    return float(mean_three), float(mean_one), difference(everything), interval_of(drawn)


def main() -> None:
    """Train both branches and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experts", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, with dense.pt and tokenizer.json")
    parser.add_argument("--recipe", default="nano")
    parser.add_argument("--data", type=Path, required=True, help="prepared sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for both branches")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batches", type=int, default=60, help="of views that are asked about")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    recipe, dense = find_recipe(arguments.recipe), arguments.run / "dense.pt"
    found = {}
    for name, one in ((THREE, False), (ONE, True)):
        own = branch(recipe, dense, arguments.steps, one=one)
        out = arguments.out / name.replace(" ", "-")
        run = train_on(own, arguments.run, dense, arguments.data, out, compiled=arguments.compile)
        corpus = Corpus.load(arguments.data, own.mix.names, "val")
        # The same views for both: a seed of their own, and the stage's place in the recipe.
        asked = replace(own, seed=own.seed + SEED_APART)
        codec = TextCodec.load(arguments.run / "tokenizer.json")
        steps = Steps(asked, asked.stages[-1], corpus, asked.dialect, codec, Share())
        found[name] = losses(run, steps, arguments.batches)
    print(f"| granularity | {THREE} | {ONE} | difference | 95 % interval |\n|---|---|---|---|---|")
    for short in found[THREE]:
        three, one_loss, difference, (low, high) = compare(found[THREE][short], found[ONE][short])
        print(f"| {short} | {three:.4f} | {one_loss:.4f} | {difference:+.4f} | {low:+.4f} to {high:+.4f} |")


if __name__ == "__main__":
    main()

"""``rsvlm tune``: a model and a field office's own data to a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from rsvlm_cli.commands.train import MinutesOption, TensorboardOption, ThreadsOption

EXAMPLES = (
    "rsvlm tune prepared --start CHECKPOINT --out runs/harbour --name harbour",
    "rsvlm tune prepared --start CHECKPOINT --out runs/harbour --full --lr 2e-5 --steps 1000",
    "rsvlm tune prepared --start RSUniVLM --out runs/harbour --four-bit",
)

LEARN = "Learning"


def tune(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of prepared sets, yours and any others.")],
    start: Annotated[Path, typer.Option("--start", metavar="DIR", help="Checkpoint to start from, ours or released.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run; the bundle is DIR/bundle.")],
    name: Annotated[str, typer.Option("--name", help="Name of the tuned model.")] = "tuned",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps.", rich_help_panel=LEARN)] = 300,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Views a step.", rich_help_panel=LEARN)] = 8,
    pieces: Annotated[
        int, typer.Option("--pieces", min=1, help="Cut a batch into so many, to save memory.", rich_help_panel=LEARN)
    ] = 1,
    lr: Annotated[
        float | None,
        typer.Option("--lr", min=0, help="Peak learning rate; 2e-4, and 2e-5 with --full.", rich_help_panel=LEARN),
    ] = None,
    rank: Annotated[
        int,
        typer.Option(
            "--rank", min=1, help="Of the small matrices beside frozen weights (LoRA).", rich_help_panel=LEARN
        ),
    ] = 16,
    four_bit: Annotated[
        bool, typer.Option("--four-bit", help="Hold frozen weights in 4 bits (QLoRA).", rich_help_panel=LEARN)
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Train all weights, no LoRA.", rich_help_panel=LEARN)] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.", rich_help_panel=LEARN)] = 1,
    minutes: MinutesOption = None,
    tensorboard: TensorboardOption = False,
    threads: ThreadsOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Train a model further on your own data, and make a bundle of it (needs the train and export extras)."""
    import logging
    import sys

    from rsvlm_cli.errors import OutputExists, UsageError
    from rsvlm_cli.workshop import enter_workshop

    if full and four_bit:
        raise UsageError("--full and --four-bit: weights in 4 bits cannot be trained (leave one out)")
    bundle = out / "bundle"
    if bundle.exists() and not overwrite:
        raise OutputExists(f"{bundle}: exists (--overwrite replaces it)")
    enter_workshop()
    from export.pack import write_bundle
    from export.quantise import ProfileName, make_profile
    from train.command import Options, run_recipe
    from train.config import Adapter, Stage
    from train.tune import make_recipe

    adapter = None if full else Adapter(rank=rank, alpha=2 * rank, four_bit=four_bit)
    peak = lr if lr is not None else 2e-5 if full else 2e-4
    stage = Stage(
        name="tune",
        kind="instruct",
        steps=steps,
        batch=batch,
        pieces=pieces,
        lr=peak,
        tower_lr=peak / 5 if full else peak,  # beside an adapter of the tower its heads alone are trained
        warmup=max(1, steps // 20),
    )
    quiet = logging.getLogger("rsvlm_cli").level >= logging.ERROR
    options = Options(minutes=minutes, threads=threads, tensorboard=tensorboard, quiet=quiet)
    recipe = make_recipe(start, data, stage, adapter, name=name, seed=seed)
    if run_recipe(recipe, data, out, start, options):
        packed = write_bundle(out, bundle, make_profile(ProfileName.INT8), overwrite=overwrite)
        sys.stdout.write(f"{packed.bundle.path}\n")
    elif not quiet:
        sys.stderr.write("note: the time is up; the same command goes on\n")

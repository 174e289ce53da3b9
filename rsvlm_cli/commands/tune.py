"""``rsvlm tune``: a model and a field office's own data to a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsvlm_cli.commands.train import MinutesOption, TensorboardOption, ThreadsOption

if TYPE_CHECKING:
    from rsvlm_cli.runtime.bundle import Bundle

EXAMPLES = (
    "rsvlm tune prepared --out runs/harbour --name harbour",
    "rsvlm tune prepared --start CHECKPOINT --out runs/harbour --full --lr 2e-5 --steps 1000",
    "rsvlm tune prepared --start RSUniVLM --out runs/harbour --four-bit",
)

LEARN = "Learning"

KEPT = ("not_learnt", "best_thresholds", "label_thresholds")
"""What of a bundle's quality the tuned one takes over."""


def tune(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of prepared sets, yours and any others.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run; the bundle is DIR/bundle.")],
    start: Annotated[
        str,
        typer.Option(
            "--start", metavar="MODEL", help="What to start from: a checkpoint, ours or released, or a bundle."
        ),
    ] = "nano",
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
    full: Annotated[
        bool, typer.Option("--full", help="Train all weights of a checkpoint, no LoRA.", rich_help_panel=LEARN)
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.", rich_help_panel=LEARN)] = 1,
    minutes: MinutesOption = None,
    tensorboard: TensorboardOption = False,
    threads: ThreadsOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Train a model further on your own data, and make a bundle of it (needs the train and export extras)."""
    import logging
    import sys
    from dataclasses import replace

    from rsvlm_cli.errors import OutputExists, UsageError
    from rsvlm_cli.runtime.bundle import write_manifest
    from rsvlm_cli.workshop import enter_workshop

    if full and four_bit:
        raise UsageError("--full and --four-bit: weights in 4 bits cannot be trained (leave one out)")
    bundle = out / "bundle"
    if bundle.exists() and not overwrite:
        raise OutputExists(f"{bundle}: exists (--overwrite replaces it)")
    enter_workshop()
    from export.pack import write_bundle
    from export.quantise import ProfileName, make_profile
    from export.unpack import unpack
    from train.command import Options, run_recipe
    from train.config import Adapter, Stage
    from train.tune import START, begin_run, make_recipe

    adapter = None if full else Adapter(rank=rank, alpha=2 * rank, four_bit=four_bit)
    peak = lr if lr is not None else 2e-5 if full else 2e-4
    stage = Stage(
        name="tune",
        kind="instruct",
        steps=steps,
        batch=batch,
        pieces=pieces,
        lr=peak,
        # Beside frozen weights heads and small matrices are all that the tower learns by.
        tower_lr=peak / 5 if full else 5 * peak,
        warmup=max(1, steps // 20),
    )
    quiet = logging.getLogger("rsvlm_cli").level >= logging.ERROR
    options = Options(minutes=minutes, threads=threads, tensorboard=tensorboard, quiet=quiet)
    before = _find_start(start, full=full)
    begin_run(out, before.path if before else Path(start), data, adapter)
    checkpoint = out / START if before else Path(start)
    if before and not checkpoint.exists():
        unpack(before, checkpoint)
    recipe = make_recipe(checkpoint, data, stage, adapter, name=name, seed=seed)
    if run_recipe(recipe, data, out, checkpoint, options):
        tuned = write_bundle(out, bundle, make_profile(ProfileName.INT8), overwrite=overwrite).bundle
        if before:
            # Scores are of the model before; thresholds are still the best that is known.
            known = {key: value for key, value in (before.manifest.quality or {}).items() if key in KEPT}
            write_manifest(tuned.path, replace(tuned.manifest, quality=known or None))
        sys.stdout.write(f"{tuned.path}\n")
        note = f"thresholds are not fitted to it yet: rsvlm eval SUITE.toml --root DATA --bundle {tuned.path} --fit val"
    else:
        note = "the time is up; the same command goes on"
    if not quiet:
        sys.stderr.write(f"note: {note}\n")


def _find_start(start: str, *, full: bool) -> "Bundle | None":
    """Return the bundle to start from, or None where a checkpoint folder is named."""
    from rsvlm_cli.errors import UsageError
    from rsvlm_cli.runtime.bundle import MANIFEST, find_bundle, read_bundle

    if Path(start).is_dir() and not (Path(start) / MANIFEST).is_file():
        return None
    bundle = read_bundle(find_bundle(start))
    if full:
        raise UsageError(f"--full: {start} is a bundle, its weights are rounded (leave it out, or --start CHECKPOINT)")
    return bundle

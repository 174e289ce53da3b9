"""``rsvlm train``: a recipe to a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = (
    "rsvlm train nano --data prepared --out runs/nano",
    "rsvlm train my-recipe.toml --data prepared --start CHECKPOINT --out runs/mine --minutes 60",
    "rsvlm train rsunivlm --estimate --processes 4",
    "torchrun --nproc-per-node 4 -m rsvlm_cli train rsunivlm --data prepared --start CHECKPOINT --out runs/rsunivlm",
)

RUN, MACHINE = "Run", "Machine"

MinutesOption = Annotated[
    float | None,
    typer.Option("--minutes", min=0, help="Stop cleanly after so long; the same command goes on.", rich_help_panel=RUN),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads; all cores by default.", rich_help_panel=MACHINE)
]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Write event files beside the log.", rich_help_panel=RUN)
]


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of one that comes with us.")
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Folder of prepared sets (rsvlm data prepare).")
    ] = Path("prepared"),
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for checkpoints and log; becomes the checkpoint."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", metavar="DIR", help="Checkpoint to start from, ours or released.", rich_help_panel=RUN),
    ] = None,
    minutes: MinutesOption = None,
    tensorboard: TensorboardOption = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the model; needs a C++ compiler.", rich_help_panel=MACHINE)
    ] = False,
    threads: ThreadsOption = None,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="Say how much memory each stage needs, and stop.", rich_help_panel=MACHINE),
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Of --estimate: so many share the model.", rich_help_panel=MACHINE)
    ] = 1,
) -> None:
    """Train a model, or go on where the run stopped; the folder can then be exported (needs the train extra)."""
    import logging
    import sys

    from rsvlm_cli.errors import UsageError
    from rsvlm_cli.workshop import enter_workshop

    enter_workshop()
    from train.config import find_recipe

    chosen = find_recipe(recipe)
    if estimate:
        from rich.console import Console

        from train.memory import estimate_table

        Console(width=None if sys.stdout.isatty() else 150).print(estimate_table(chosen, size=processes))
        return
    if out is None:
        raise UsageError("no --out, wanted a folder for checkpoints and log")
    from train.command import Options, run_recipe

    quiet = logging.getLogger("rsvlm_cli").level >= logging.ERROR
    options = Options(minutes=minutes, threads=threads, compiled=compiled, tensorboard=tensorboard, quiet=quiet)
    if run_recipe(chosen, data, out, start, options):
        sys.stdout.write(f"{out}\n")
    elif not quiet:
        sys.stderr.write("note: the time is up; the same command goes on\n")

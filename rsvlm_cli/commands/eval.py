"""``rsvlm eval``: what a model is worth, on data sets with known answers."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rsvlm_cli.options import DEFAULT_MODEL

EXAMPLES = (
    "rsvlm eval benchmarks/suites/shared-data.toml --root DATA --json scores.json",
    "rsvlm eval benchmarks/suites/shared-data.toml --root DATA --split all --bundle rsunivlm-1b",
    "rsvlm eval suite.toml --root DATA --limit 50      (a first look)",
)


class Split(StrEnum):
    """Which images are scored."""

    ALL = "all"
    TRAIN = "train"
    VAL = "val"


def eval(
    suite: Annotated[Path, typer.Argument(metavar="SUITE.toml", help="What is asked (benchmarks/suites/).")],
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Folder of the data sets: core/, research-only/.")
    ],
    bundle: Annotated[
        str, typer.Option("--bundle", "-m", envvar="RSVLM_MODEL", help="A bundle's name or folder.")
    ] = DEFAULT_MODEL,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all scores here.")] = None,
    split: Annotated[
        Split | None, typer.Option("--split", help="Images to score; by default the suite's choice.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Requests a row and set at the most, evenly chosen.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", envvar="RSVLM_THREADS", min=1, help="CPU threads; all cores by default.")
    ] = None,
    stamp: Annotated[
        bool, typer.Option("--stamp", help="Write what was found into the bundle's manifest, as its quality.")
    ] = False,
    fit: Annotated[
        Split | None,
        typer.Option("--fit", help="First fit the thresholds of boxes and mask labels on these images."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
) -> None:
    """Score a model on data sets with known answers, by the road that the other commands take.

    Prints each score with its 95 % interval and with what one gets without looking. Exit 6 if a set could not be used.
    """
    import sys
    from functools import partial

    from rsvlm_cli.errors import BatchError
    from rsvlm_cli.output.document import dump
    from rsvlm_cli.output.files import check_target, write_text
    from rsvlm_cli.output.progress import stages_bar
    from rsvlm_cli.settings import Settings
    from rsvlm_cli.workshop import enter_workshop

    enter_workshop(needs=("pycocotools", "shapely", "pyogrio", "yaml"), extra="eval")
    from rsvlm_cli.runtime.bundle import find_bundle, read_bundle
    from train.evaluate.fit import fit_thresholds, stamp_thresholds
    from train.evaluate.run import evaluate, stamp_quality
    from train.evaluate.suite import Suite
    from train.evaluate.table import as_text

    if json is not None:
        check_target(json, overwrite=overwrite)
    wanted, settings = Suite.from_toml(suite), Settings(model=bundle, threads=threads)
    with stages_bar() as progress:
        if fit:
            told = progress and partial(progress, "fit")
            fitted = fit_thresholds(wanted, root, settings, fit.value, limit=limit, progress=told)
            stamp_thresholds(read_bundle(find_bundle(bundle)), fitted)
        found = evaluate(wanted, root, settings, split=split.value if split else None, limit=limit, progress=progress)
    if json is not None:
        write_text(json, dump(found.to_json(), indent=1) + "\n", overwrite=overwrite)
    if stamp:
        stamp_quality(found)
    sys.stdout.write(as_text(found))
    if found.faults or found.tally.unreadable:
        raise BatchError(
            f"{len(found.faults)} sets left out, {found.tally.unreadable} images unreadable (warnings name them)"
        )

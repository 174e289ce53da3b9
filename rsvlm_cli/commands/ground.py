"""``rsvlm ground``: where the things are that a phrase names."""

from typing import Annotated

import typer

from rsvlm_cli.arguments import split_arguments
from rsvlm_cli.errors import UsageError
from rsvlm_cli.options import (
    InputOptions,
    JobsOption,
    MinScoreOption,
    ModelOptions,
    OutputOptions,
    ScaleOption,
    TileOption,
)

EXAMPLES = (
    'rsvlm ground scene.tif "the largest building"',
    'rsvlm ground scene.tif -p ship -p "storage tank" --out found.geojson --preview found.png',
)


def ground(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RASTER... [PHRASE]...", help="Rasters, then phrases of several words; or phrases by -p."
        ),
    ],
    read: InputOptions,
    model: ModelOptions,
    out: OutputOptions,
    phrase: Annotated[
        list[str] | None, typer.Option("--phrase", "-p", help="What to find; may be given several times.")
    ] = None,
    tile: TileOption = "whole",
    scale: ScaleOption = None,
    min_score: MinScoreOption = None,
    jobs: JobsOption = 1,
) -> None:
    """Find what a phrase names, as boxes in pixels and on the map."""
    from dataclasses import replace

    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver
    from rsvlm_cli.output.progress import with_progress

    rasters, words = split_arguments(arguments)
    phrases = [*words, *(phrase or ())]
    settings = model.settings(read, tile=tile, scale=scale, min_score=min_score, jobs=jobs)
    if not phrases:
        raise UsageError('found no phrase, wanted what to find: "the red roof" after the raster, or -p ship')
    targets = out.targets(read)
    deliver(
        lambda raster: with_progress(
            lambda progress: pipeline.detect(
                "ground", raster, phrases, replace(settings, journal=targets.journal(raster)), progress
            )
        ),
        rasters,
        targets,
    )

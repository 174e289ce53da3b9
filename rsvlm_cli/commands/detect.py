"""``rsvlm detect``: every object of the classes."""

from typing import Annotated

import typer

from rsvlm_cli.arguments import parse_labels
from rsvlm_cli.options import (
    InputOptions,
    JobsOption,
    MinScoreOption,
    ModelOptions,
    OutputOptions,
    RastersArgument,
    ScaleOption,
    TileOption,
)

EXAMPLES = (
    "rsvlm detect port.tif --classes ship,vehicle --out ships.gpkg",
    "rsvlm detect port.tif --tile 512 --min-score 0.3 --jsonl",
    "rsvlm detect port.tif                   (the classes that the model was taught)",
)


def detect(
    rasters: RastersArgument,
    read: InputOptions,
    model: ModelOptions,
    out: OutputOptions,
    classes: Annotated[
        list[str] | None, typer.Option("--classes", "-c", metavar="A,B,C", help="What to look for.")
    ] = None,
    tile: TileOption = "auto",
    scale: ScaleOption = None,
    min_score: MinScoreOption = None,
    jobs: JobsOption = 1,
) -> None:
    """Find every object of the classes, as boxes in pixels and on the map."""
    from dataclasses import replace

    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver
    from rsvlm_cli.output.progress import with_progress

    labels = parse_labels(classes)
    settings = model.settings(read, tile=tile, scale=scale, min_score=min_score, jobs=jobs)
    targets = out.targets(read)
    deliver(
        lambda raster: with_progress(
            lambda progress: pipeline.detect(
                "detect", raster, labels, replace(settings, journal=targets.journal(raster)), progress
            )
        ),
        rasters,
        targets,
    )

"""``rsvlm count``: how many objects of the classes."""

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
    "rsvlm count lot.tif --classes car,truck",
    "rsvlm count city.tif --classes building --aoi district.geojson --jobs 2 --out buildings.gpkg",
)


def count(
    rasters: RastersArgument,
    read: InputOptions,
    model: ModelOptions,
    out: OutputOptions,
    classes: Annotated[
        list[str] | None, typer.Option("--classes", "-c", metavar="A,B,C", help="What to count.")
    ] = None,
    tile: TileOption = "auto",
    scale: ScaleOption = None,
    min_score: MinScoreOption = None,
    jobs: JobsOption = 1,
) -> None:
    """Count the objects of the classes, in a raster of any size; --out keeps each one's box."""
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
                "count", raster, labels, replace(settings, journal=targets.journal(raster)), progress
            )
        ),
        rasters,
        targets,
    )

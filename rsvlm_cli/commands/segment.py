"""``rsvlm segment``: which ground is of a label."""

from typing import Annotated

import typer

from rsvlm_cli.arguments import parse_labels
from rsvlm_cli.options import (
    CellOption,
    InputOptions,
    JobsOption,
    ModelOptions,
    OutputOptions,
    RastersArgument,
    ScaleOption,
    ThresholdOption,
    TileOption,
)

EXAMPLES = (
    "rsvlm segment scene.tif --label water --out water.tif --preview water.png",
    "rsvlm segment scene.tif --label water,forest --tile 512 --out cover.gpkg",
    "rsvlm segment huge.tif --label water --aoi county.geojson --cell 2m --jobs 2 --out water.tif",
)


def segment(
    rasters: RastersArgument,
    read: InputOptions,
    model: ModelOptions,
    out: OutputOptions,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="A,B,C", help="What to mask; a cell gets the most probable one."),
    ] = None,
    tile: TileOption = "auto",
    scale: ScaleOption = None,
    cell: CellOption = None,
    threshold: ThresholdOption = None,
    jobs: JobsOption = 1,
) -> None:
    """Mask the ground that is of a label; prints each label's share and area."""
    from dataclasses import replace

    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver
    from rsvlm_cli.output.progress import with_progress

    labels = parse_labels(label)
    settings = model.settings(read, tile=tile, scale=scale, cell=cell, threshold=threshold, jobs=jobs)
    targets = out.targets(read)
    deliver(
        lambda raster: with_progress(
            lambda progress: pipeline.segment(
                raster, labels, replace(settings, journal=targets.journal(raster)), progress
            )
        ),
        rasters,
        targets,
        masks=True,
    )

"""``rsvlm detect-change``: which ground changed from date to date."""

from typing import Annotated

import typer

from rsvlm_cli.arguments import parse_labels
from rsvlm_cli.errors import UsageError
from rsvlm_cli.options import (
    CellOption,
    ChangeOptions,
    DatesArgument,
    InputOptions,
    JobsOption,
    ModelOptions,
    OutputOptions,
    ScaleOption,
    ThresholdOption,
    TileOption,
)

EXAMPLES = (
    "rsvlm detect-change 2019.tif 2024.tif --label building --out change.tif --preview change.png",
    "rsvlm detect-change 2015.tif 2019.tif 2024.tif --coregister --out change.gpkg",
)


def detect_change(
    rasters: DatesArgument,
    read: InputOptions,
    compare: ChangeOptions,
    model: ModelOptions,
    out: OutputOptions,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="A,B,C", help="What may have changed.")
    ] = None,
    tile: TileOption = "auto",
    scale: ScaleOption = None,
    cell: CellOption = None,
    threshold: ThresholdOption = None,
    jobs: JobsOption = 1,
) -> None:
    """Mask what changed between dates of one place, each with the next, on the grid of the first."""
    from dataclasses import replace

    looking = {"tile": tile, "scale": scale, "cell": cell, "threshold": threshold, "jobs": jobs}
    settings = model.settings(read, **looking, **compare.chosen(rasters))
    if len(rasters) > 2 and out.out is not None and out.out.suffix.lower() in (".tif", ".tiff"):
        raise UsageError(f"--out {out.out}: holds one mask, found {len(rasters)} dates (write .gpkg or .geojson)")
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver
    from rsvlm_cli.output.progress import with_progress

    labels, targets = parse_labels(label), out.targets(read)
    settings = replace(settings, journal=targets.journal(rasters[0]))
    deliver(
        lambda _: with_progress(lambda progress: pipeline.detect_change(rasters, labels, settings, progress)),
        rasters[:1],
        targets,
        masks=True,
    )

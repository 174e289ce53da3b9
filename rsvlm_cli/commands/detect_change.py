"""``rsvlm detect-change``: which ground changed from date to date."""

from typing import Annotated

import typer

from rsvlm_cli.errors import UsageError
from rsvlm_cli.options import (
    ChangeOptions,
    DatesArgument,
    InputOptions,
    ModelOptions,
    OutputOptions,
    ThresholdOption,
    TileOption,
    parse_labels,
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
    threshold: ThresholdOption = 0.5,
) -> None:
    """Mask what changed between dates of one place, each with the next, on the grid of the first."""
    settings = model.settings(read, tile=tile, threshold=threshold, **compare.chosen(rasters))
    if len(rasters) > 2 and out.out is not None and out.out.suffix.lower() in (".tif", ".tiff"):
        raise UsageError(f"--out {out.out}: holds one mask, found {len(rasters)} dates (write .gpkg or .geojson)")
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver
    from rsvlm_cli.output.progress import with_progress

    labels = parse_labels(label)
    deliver(
        lambda _: with_progress(lambda progress: pipeline.detect_change(rasters, labels, settings, progress)),
        rasters[:1],
        out.targets(read),
        masks=True,
    )

"""``rsvlm segment``: which ground is of a label."""

from typing import Annotated

import typer

from rsvlm_cli.options import (
    InputOptions,
    ModelOptions,
    OutputOptions,
    RastersArgument,
    ThresholdOption,
    TileOption,
    parse_labels,
)

EXAMPLES = (
    "rsvlm segment scene.tif --label water --out water.tif --preview water.png",
    "rsvlm segment scene.tif --label water,forest --tile 512 --out cover.gpkg",
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
    threshold: ThresholdOption = 0.5,
) -> None:
    """Mask the ground that is of a label; prints each label's share and area."""
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver
    from rsvlm_cli.output.progress import with_progress

    labels, settings = parse_labels(label), model.settings(read, tile=tile, threshold=threshold)
    deliver(
        lambda raster: with_progress(lambda progress: pipeline.segment(raster, labels, settings, progress)),
        rasters,
        out.targets(read),
        masks=True,
    )

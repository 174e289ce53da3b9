"""``rsvlm describe``: what a region shows."""

from typing import Annotated

import typer

from rsvlm_cli.errors import UsageError
from rsvlm_cli.options import InputOptions, ModelOptions, OutputOptions, RasterArgument

EXAMPLES = (
    "rsvlm describe scene.tif --box 100,120,180,200",
    "rsvlm describe scene.tif --bbox 500100,4999800,500180,4999880",
    "rsvlm describe scene.tif --box lonlat:15.001,45.150,15.003,45.152",
)


def describe(
    raster: RasterArgument,
    read: InputOptions,
    model: ModelOptions,
    out: OutputOptions,
    box: Annotated[
        str | None,
        typer.Option("--box", metavar="X1,Y1,X2,Y2", help="The region in pixels (or after map: or lonlat:)."),
    ] = None,
) -> None:
    """Say what a region of a raster shows; --box or --bbox names it."""
    from dataclasses import replace

    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver

    if (box is None) == (read.bbox is None):
        raise UsageError("found neither or both of --box and --bbox, wanted one region: --box X1,Y1,X2,Y2 in pixels")
    region, settings = box or f"map:{read.bbox}", model.settings(replace(read, bbox=None))
    deliver(lambda path: pipeline.describe(path, region, settings), [raster], out.targets(read))

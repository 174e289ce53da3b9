"""``rsvlm classify``: a distribution over labels."""

from typing import Annotated

import typer

from rsvlm_cli.arguments import parse_labels
from rsvlm_cli.options import InputOptions, ModelOptions, OutputOptions, RastersArgument

EXAMPLES = (
    "rsvlm classify scene.tif --labels urban,farmland,forest,water",
    "rsvlm classify scene.tif                (the scene classes that the model was taught)",
)


def classify(
    rasters: RastersArgument,
    read: InputOptions,
    model: ModelOptions,
    out: OutputOptions,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", "-l", metavar="A,B,C", help="Labels to choose from; the probabilities sum to one."),
    ] = None,
) -> None:
    """Say which of the labels each raster is, with the likelihood of each."""
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver

    settings = model.settings(read)
    deliver(lambda raster: pipeline.classify(raster, parse_labels(labels), settings), rasters, out.targets(read))

"""``rsvlm detect-change``: which ground changed between two dates."""

from typing import Annotated

import typer

from rsvlm_cli.options import (
    AfterArgument,
    BeforeArgument,
    InputOptions,
    ModelOptions,
    OutputOptions,
    ThresholdOption,
    TileOption,
    parse_labels,
)

EXAMPLES = (
    "rsvlm detect-change 2019.tif 2024.tif --label building --out change.tif --preview change.png",
    "rsvlm detect-change 2019.tif 2024.tif --out change.gpkg",
)


def detect_change(
    before: BeforeArgument,
    after: AfterArgument,
    read: InputOptions,
    model: ModelOptions,
    out: OutputOptions,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="A,B,C", help="What may have changed.")
    ] = None,
    tile: TileOption = "auto",
    threshold: ThresholdOption = 0.5,
) -> None:
    """Mask what changed between two dates of one place, on the grid of the first."""
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver
    from rsvlm_cli.output.progress import with_progress

    labels, settings = parse_labels(label), model.settings(read, tile=tile, threshold=threshold)
    deliver(
        lambda _: with_progress(lambda progress: pipeline.detect_change(before, after, labels, settings, progress)),
        [before],
        out.targets(read),
        masks=True,
    )

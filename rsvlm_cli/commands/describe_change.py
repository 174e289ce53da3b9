"""``rsvlm describe-change``: what changed from date to date, in words."""

from rsvlm_cli.options import ChangeOptions, DatesArgument, InputOptions, ModelOptions, OutputOptions

EXAMPLES = (
    "rsvlm describe-change 2019.tif 2024.tif",
    "rsvlm describe-change 2015.tif 2019.tif 2024.tif --dates 2015-06,2019-05,2024-07",
)


def describe_change(
    rasters: DatesArgument, read: InputOptions, compare: ChangeOptions, model: ModelOptions, out: OutputOptions
) -> None:
    """Say in words what changed between dates of one place, from each to the next."""
    settings = model.settings(read, **compare.chosen(rasters))
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver

    deliver(lambda _: pipeline.describe_change(rasters, settings), rasters[:1], out.targets(read))

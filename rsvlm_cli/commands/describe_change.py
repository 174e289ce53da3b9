"""``rsvlm describe-change``: what changed between two dates, in words."""

from rsvlm_cli.options import AfterArgument, BeforeArgument, InputOptions, ModelOptions, OutputOptions

EXAMPLES = ("rsvlm describe-change 2019.tif 2024.tif",)


def describe_change(
    before: BeforeArgument, after: AfterArgument, read: InputOptions, model: ModelOptions, out: OutputOptions
) -> None:
    """Say in words what changed between two dates of one place."""
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver

    settings = model.settings(read)
    deliver(lambda _: pipeline.describe_change(before, after, settings), [before], out.targets(read))

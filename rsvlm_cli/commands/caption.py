"""``rsvlm caption``: a caption of each raster."""

from rsvlm_cli.options import InputOptions, ModelOptions, OutputOptions, RastersArgument

EXAMPLES = (
    "rsvlm caption scene.tif",
    "rsvlm caption tiles/*.tif --jsonl > captions.jsonl",
    "rsvlm caption scene.tif --window 0,0,512,512",
)


def caption(rasters: RastersArgument, read: InputOptions, model: ModelOptions, out: OutputOptions) -> None:
    """Say in a sentence what each raster shows."""
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver

    settings = model.settings(read)
    deliver(lambda raster: pipeline.caption(raster, settings), rasters, out.targets(read))

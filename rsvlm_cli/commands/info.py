"""``rsvlm info``: what the tool sees in a raster."""

from typing import Annotated

import typer

from rsvlm_cli.options import BandsOption, DemOption, RasterArgument, StretchOption

EXAMPLES = ("rsvlm info scene.tif", "rsvlm info scene.tif --bands nir,red,green --json")


def info(
    raster: RasterArgument,
    bands: BandsOption = None,
    stretch: StretchOption = "auto",
    dem: DemOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show size, place, bands and stretch of a raster, and what of it the model would be shown."""
    import sys

    from rsvlm_cli.geo.describe import describe_raster
    from rsvlm_cli.output.document import dump
    from rsvlm_cli.output.text import mapping_to_text

    described = describe_raster(raster, bands=bands, stretch=stretch, dem=dem)
    sys.stdout.write(dump(described, indent=1) + "\n" if json else mapping_to_text(described))

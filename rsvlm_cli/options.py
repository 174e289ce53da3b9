"""Every flag that more than one command takes, once.

A command names a group (`InputOptions`, `ModelOptions`, ...) as the type of one parameter; `with_shared_options`
spreads the group into its flags for Typer and hands the command the filled group.
"""

import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rsvlm_cli.errors import UsageError

if TYPE_CHECKING:
    from rsvlm_cli.output.deliver import Targets
    from rsvlm_cli.settings import Settings

DEFAULT_MODEL = "nano"

INPUT, MODEL, OUTPUT = "Input", "Model", "Output"

RasterArgument = Annotated[str, typer.Argument(metavar="RASTER", help="A raster that GDAL reads, such as a GeoTIFF.")]
RastersArgument = Annotated[
    list[str], typer.Argument(metavar="RASTER...", help="One or several rasters; each is one item.")
]
DatesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="BEFORE AFTER...",
        help="Rasters of one place in the order of time; the first one's grid is the reference.",
    ),
]
BandsOption = Annotated[
    str | None,
    typer.Option(
        "--bands",
        metavar="R,G,B",
        help="Bands for red, green and blue: numbers from 1, or names. By default from the raster's own metadata.",
        rich_help_panel=INPUT,
    ),
]
StretchOption = Annotated[
    str,
    typer.Option(
        "--stretch",
        metavar="auto|none|minmax|pLOW,HIGH|LOW,HIGH|reflectance:LOW,HIGH",
        help="How values become 8 bit.",
        rich_help_panel=INPUT,
    ),
]
DemOption = Annotated[
    str | None,
    typer.Option("--dem", metavar="FILE", help="Terrain model, to place by RPCs.", rich_help_panel=INPUT),
]
MinScoreOption = Annotated[
    float | None,
    typer.Option("--min-score", min=0, max=1, help="Leave out boxes that score less.", rich_help_panel=MODEL),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", min=0, max=1, help="Probability from which a cell is set.", rich_help_panel=MODEL),
]
TileOption = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="auto|whole|PX",
        help="Look at the raster in overlapping windows of PX x PX raster pixels.",
        rich_help_panel=INPUT,
    ),
]

ScaleOption = Annotated[
    str | None,
    typer.Option("--scale", metavar="native|METRES", help="Instead of --tile: ground a pixel.", rich_help_panel=INPUT),
]
CellOption = Annotated[
    str | None,
    typer.Option("--cell", metavar="2m|4px", help="Refine borders to so fine a cell.", rich_help_panel=INPUT),
]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Processes that look at windows.", rich_help_panel=MODEL)
]

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="RSVLM_MODEL",
        help="A bundle's name or folder (rsvlm models list).",
        rich_help_panel=MODEL,
    ),
]


class Device(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Zoom(StrEnum):
    """How ``ask`` looks closer."""

    AUTO = "auto"
    LARGE = "large"
    OFF = "off"
    PAPER = "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """What of a raster is shown to the model."""

    bands: BandsOption = None
    stretch: StretchOption = "auto"
    dem: DemOption = None
    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            metavar="X1,Y1,X2,Y2",
            help="Use this part of the raster alone: pixels, or after map: or lonlat: such coordinates.",
            rich_help_panel=INPUT,
        ),
    ] = None
    bbox: Annotated[
        str | None,
        typer.Option(
            "--bbox", metavar="X1,Y1,X2,Y2", help="The same in the raster's map coordinates.", rich_help_panel=INPUT
        ),
    ] = None
    aoi: Annotated[
        Path | None,
        typer.Option(
            "--aoi",
            metavar="FILE",
            help="Use the ground within the polygons of a .geojson or .gpkg alone.",
            rich_help_panel=INPUT,
        ),
    ] = None

    def region(self) -> str | None:
        """Return the region that ``--window`` or ``--bbox`` asks for, as `geo.region.parse_region` reads it."""
        if self.bbox is None or self.window is None:
            return self.window if self.bbox is None else f"map:{self.bbox}"
        raise UsageError("--bbox and --window: wanted one of them, both say which part to look at")


class Radiometry(StrEnum):
    """Whether later dates are brought to the light of the first."""

    AUTO = "auto"
    MATCH = "match"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOptions:
    """How dates are made comparable."""

    coregister: Annotated[
        bool,
        typer.Option("--coregister", help="Undo the shift measured between the dates.", rich_help_panel=INPUT),
    ] = False
    radiometry: Annotated[
        Radiometry,
        typer.Option(
            "--radiometry",
            help="Bring later dates to the light of the first; auto does unless --stretch is fixed.",
            rich_help_panel=INPUT,
        ),
    ] = Radiometry.AUTO
    dates: Annotated[
        str | None,
        typer.Option(
            "--dates",
            metavar="D1,D2,...",
            help="When each raster was taken, such as 2019-05,2024. By default from its tags or its name.",
            rich_help_panel=INPUT,
        ),
    ] = None

    def chosen(self, rasters: list[str]) -> dict[str, Any]:
        """Return the settings of several dates, or refuse fewer than two."""
        if len(rasters) < 2:
            raise UsageError(f"found {len(rasters)} raster, wanted two or more: BEFORE AFTER...")
        return {"coregister": self.coregister, "radiometry": self.radiometry.value, "dates": self.dates}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model answers, and how."""

    model: ModelOption = DEFAULT_MODEL
    device: Annotated[
        Device, typer.Option("--device", envvar="RSVLM_DEVICE", help="Where it runs.", rich_help_panel=MODEL)
    ] = Device.AUTO
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", envvar="RSVLM_THREADS", min=1, help="CPU threads; all cores by default.", rich_help_panel=MODEL
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            min=1,
            help="Token budget of a reply, instead of the task's; of a zoom, all that it computes.",
            rich_help_panel=MODEL,
        ),
    ] = None
    temperature: Annotated[
        float,
        typer.Option("--temperature", min=0, help="0 decodes greedily; more samples free text.", rich_help_panel=MODEL),
    ] = 0.0
    seed: Annotated[int, typer.Option("--seed", help="Of sampling.", rich_help_panel=MODEL)] = 0
    tta: Annotated[
        int | None,
        typer.Option(
            "--tta",
            min=1,
            max=8,
            help="Look at each picture in so many of its 8 symmetries and average the probabilities of classes, yes or "
            "no, and cells. By default as suits the model.",
            rich_help_panel=MODEL,
        ),
    ] = None

    def settings(self, read: InputOptions, **more: Any) -> "Settings":
        """Return the pipeline's settings; ``more`` is what only some commands have."""
        from rsvlm_cli.settings import Settings

        return Settings(
            model=self.model,
            device=self.device.value,
            threads=self.threads,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            tta=self.tta,
            bands=read.bands,
            stretch=read.stretch,
            dem=read.dem,
            window=read.region(),
            aoi=None if read.aoi is None else str(read.aoi),
            **more,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where the answer goes besides, or instead of, text on stdout."""

    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object (rsvlm schema).", rich_help_panel=OUTPUT)
    ] = False
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print one JSON object a line, one line an item.", rich_help_panel=OUTPUT)
    ] = False
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write a file: .geojson .gpkg .json .jsonl .tif (mask) .png (overlay) .txt. "
            "With several rasters {stem} stands for each one's name.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    preview: Annotated[
        Path | None,
        typer.Option(
            "--preview", metavar="FILE", help="Write the result drawn over the image, PNG.", rich_help_panel=OUTPUT
        ),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write one HTML page that opens offline: map with layers and swipe, tables, transcript, provenance.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    stac: Annotated[
        Path | None,
        typer.Option(
            "--stac",
            metavar="FILE",
            help="Write a STAC item of the result and its files, JSON.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    show: Annotated[
        bool, typer.Option("--show", help="Draw the result in the terminal (on stderr).", rich_help_panel=OUTPUT)
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel=OUTPUT)
    ] = False

    def targets(self, read: InputOptions) -> "Targets":
        """Return the same for the output side, with what it needs to draw pictures as the model saw them."""
        from rsvlm_cli.output.deliver import Targets

        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        command = shlex.join(["rsvlm", *sys.argv[1:]])
        return Targets(**chosen, bands=read.bands, stretch=read.stretch, dem=read.dem, command=command)


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Spread each parameter whose type is a group of this module into the group's flags, for Typer to read."""
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group = parameter.annotation
        if not (isinstance(group, type) and is_dataclass(group)):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = group
        hints = get_type_hints(group, include_extras=True)
        parameters.extend(
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
            for f in fields(group)
        )

    @wraps(command)
    def call(**values: Any) -> None:
        filled = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **filled)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call

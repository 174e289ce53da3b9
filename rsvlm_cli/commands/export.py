"""``rsvlm export``: a checkpoint to a bundle folder."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from export.pack import Source
    from export.quantise import Profile

EXAMPLES = (
    "rsvlm export runs/nano out/nano --profile int8",
    "rsvlm export RSUniVLM out/rsunivlm-image --tasks image,region",
)


class ProfileName(StrEnum):
    """How weights are stored, by the width of the experts."""

    INT4 = "int4"
    INT4_DECODER = "int4-decoder"
    INT8 = "int8"
    FP16 = "fp16"
    FP32 = "fp32"


class VisionName(StrEnum):
    """How a quantised profile stores the vision tower."""

    BLOCKS = "blocks"
    TOKENS = "tokens"
    DYNAMIC = "dynamic"
    FP32 = "fp32"


ProfileOption = Annotated[
    ProfileName, typer.Option("--profile", help="How weights are stored; int4 keeps 8 bits beside the experts.")
]
BlockOption = Annotated[
    int, typer.Option("--block", metavar="16|32|64|128", help="Weights that share a scale: fewer is more exact.")
]
VisionOption = Annotated[
    VisionName,
    typer.Option(
        "--vision", help="Vision tower of a quantised profile: int8 in blocks, by the token, by the picture; float32."
    ),
]
TasksOption = Annotated[
    str,
    typer.Option("--tasks", metavar="KIND,...", help="Keep the experts of these alone: image, region, pixel, or all."),
]
TowerOption = Annotated[
    Path | None,
    typer.Option("--tower", metavar="DIR", help="A SigLIP release, for a checkpoint without a vision tower."),
]


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Folder of weights, ours or released.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Bundle folder to make.")],
    profile: ProfileOption = ProfileName.INT4,
    block: BlockOption = 32,
    vision: VisionOption = VisionName.BLOCKS,
    tasks: TasksOption = "all",
    tower: TowerOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Turn a checkpoint into a bundle folder, for --model OUT; experts of tasks left out are not stored."""
    import sys

    from rsvlm_cli.workshop import enter_workshop

    enter_workshop(("onnx", "safetensors"), "export")
    from export.pack import check_target, pack

    check_target(out, overwrite)
    source = open_checkpoint(checkpoint, tasks=tasks, tower=tower)
    bundle = pack(source, out, read_profile(profile, block, vision), overwrite=overwrite).bundle
    megabytes = sum(entry.size for entry in bundle.manifest.files.values()) / 1e6
    sys.stdout.write(f"{out}: {bundle.manifest.name}, {profile.value}, {megabytes:.1f} MB\n")


def read_profile(profile: ProfileName, block: int, vision: VisionName) -> "Profile":
    """Return the profile that the flags mean; the workshop was entered before."""
    from export.quantise import ProfileName as Name
    from export.quantise import make_profile

    return make_profile(Name(profile.value), block=block, vision=vision.value)


def open_checkpoint(folder: Path, *, tasks: str, tower: Path | None, name: str | None = None) -> "Source":
    """Open a checkpoint with the experts of some tasks, and say what is worth a warning."""
    import logging

    from export.pack import open_source
    from rsvlm_cli.arguments import parse_labels
    from rsvlm_cli.errors import UsageError
    from rsvlm_cli.tasks.dialect import Granularity

    known = {granularity.name.lower(): granularity for granularity in Granularity}
    wanted = tuple(known) if tasks == "all" else parse_labels([tasks])
    if not wanted or not set(wanted) <= set(known):
        raise UsageError(f"--tasks {tasks}, wanted {', '.join(known)} or all")
    source = open_source(folder, tower=tower, name=name, granularities=[known[label] for label in wanted])
    for note in source.checkpoint.notes:
        logging.getLogger(__name__).warning(note)
    return source

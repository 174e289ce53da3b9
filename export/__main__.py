"""``python -m export CHECKPOINT OUT --profile int4``: a checkpoint to a bundle."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from export.pack import write_bundle
from export.quantise import ProfileName, TensorError, make_profile
from rsvlm_cli.errors import RsvlmError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a bundle, print what quantisation cost, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m export", description="turn a checkpoint into a bundle")
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder, ours or the released RSUniVLM layout")
    parser.add_argument("out", type=Path, help="bundle folder to make")
    parser.add_argument(
        "--profile", choices=[name.value for name in ProfileName], default=ProfileName.INT4.value, help="default int4"
    )
    parser.add_argument(
        "--block", type=int, default=32, help="weights that share a scale: 16, 32, 64, 128 (default 32)"
    )
    parser.add_argument(
        "--vision",
        choices=["blocks", "tokens", "dynamic", "fp32"],
        default="blocks",
        help="vision tower: int8 in blocks (default); int8 by the token, faster; int8 by the picture; float32",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    parser.add_argument("--errors", action="store_true", help="print the error of every tensor")
    options = parser.parse_args(arguments)
    try:
        profile = make_profile(ProfileName(options.profile), block=options.block, vision=options.vision)
        packed = write_bundle(options.checkpoint, options.out, profile, overwrite=options.overwrite)
    except RsvlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for line in summarise(packed.errors) if not options.errors else map(_line, packed.errors):
        print(line)
    megabytes = sum(entry.size for entry in packed.bundle.manifest.files.values()) / 1e6
    print(f"{packed.bundle.path}: {packed.bundle.manifest.name}, {options.profile}, {megabytes:.1f} MB")
    return 0


def summarise(errors: Iterable[TensorError]) -> list[str]:
    """Return one line for each part and scheme, with the mean and the greatest relative error."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for error in errors:
        words = error.name.split(".")
        part = next((word for word in ("experts", "attention", "mlp", "stem") if word in words), words[-2])
        groups[f"{words[0]} {part}", error.scheme].append(error.relative)
    return [
        f"{part:<24} {scheme:<13} {len(values):>4} tensors, relative error {sum(values) / len(values):.4f} "
        f"(greatest {max(values):.4f})"
        for (part, scheme), values in groups.items()
    ]


def _line(error: TensorError) -> str:
    return f"{error.name:<60} {error.scheme:<13} {error.relative:.4f}"


if __name__ == "__main__":
    sys.exit(main())

"""``python -m train RECIPE.toml --data DIR --out DIR``: run a recipe, or go on where it stopped; as ``rsvlm train``."""

import argparse
import sys
from pathlib import Path

from rsvlm_cli.errors import RsvlmError
from train.command import Options, run_recipe
from train.config import Recipe


def main() -> int:
    """Parse the command line, train, write a checkpoint folder that `export` reads, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m train", description="Run a training recipe; resumes by itself.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="folder of prepared sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument("--start", type=Path, help="checkpoint folder to start from")
    parser.add_argument("--minutes", type=float, help="stop cleanly after this time")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tensorboard", action="store_true", help="write event files beside the log")
    parser.add_argument(
        "--compile", action="store_true", help="compile the model: half as fast again; needs a C++ compiler"
    )
    args = parser.parse_args()
    options = Options(minutes=args.minutes, threads=args.threads, compiled=args.compile, tensorboard=args.tensorboard)
    try:
        run_recipe(Recipe.from_toml(args.recipe), args.data, args.out, args.start, options)
    except RsvlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

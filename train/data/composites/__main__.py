"""Write the set: ``python -m train.data.composites --data PREPARED --out FOLDER --count N --seed S``."""

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rsvlm_cli.errors import RsvlmError
from train.data.composites.make import make_composite, write_composite
from train.data.composites.pool import Pool
from train.data.records import Record, write_records

log = logging.getLogger("train.data.composites")


def make_set(data: Path, folder: Path, count: int, seed: int) -> int:
    """Write ``count`` composites of the prepared sets below ``data`` and return how many there are.

    Raises:
        InputError: if a side of the split has nothing to cut out.
    """
    pools = {"train": Pool(data, "train"), "val": Pool(data, "val")}
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return write_records(folder, _written(pools, folder, count, seed))


def _written(pools: dict[str, Pool], folder: Path, count: int, seed: int) -> Iterator[Record]:
    start = time.perf_counter()
    for index in range(count):
        yield write_composite(folder, make_composite(pools, seed, index))
        if (index + 1) % 500 == 0:
            log.info("%d of %d, %.0f ms each", index + 1, count, 1e3 * (time.perf_counter() - start) / (index + 1))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.data.composites", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the prepared sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of this set")
    parser.add_argument("--count", type=int, default=3000, help="number of records")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds and sets give equal bytes")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        make_set(args.data, args.out, args.count, args.seed)
    except RsvlmError as error:
        log.error("error: %s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

"""Write the set: ``python -m train.data.scenes --out FOLDER --count N --seed S``."""

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from train.data.records import Record, write_records
from train.data.scenes.make import make_picture, write_picture

log = logging.getLogger("train.data.scenes")


def make_set(folder: Path, count: int, seed: int) -> int:
    """Write ``count`` drawn records to a prepared set's folder and return how many there are."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return write_records(folder, _written(folder, count, seed))


def _written(folder: Path, count: int, seed: int) -> Iterator[Record]:
    start = time.perf_counter()
    for index in range(count):
        yield write_picture(folder, make_picture(seed, index))
        if (index + 1) % 500 == 0:
            log.info("%d of %d, %.0f ms each", index + 1, count, 1e3 * (time.perf_counter() - start) / (index + 1))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.data.scenes", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the prepared set")
    parser.add_argument("--count", type=int, default=3000, help="number of records")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal bytes")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_set(args.out, args.count, args.seed)


if __name__ == "__main__":
    main()

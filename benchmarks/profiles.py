"""What each profile of a checkpoint costs and keeps: size, memory, speed, the same tokens, the same scores.

``python -m benchmarks.profiles CHECKPOINT`` exports every profile into a temporary folder and puts them side by side in
one run. Speed is a ratio: in each round every profile looks at one picture and decodes the same number of tokens, in
turns, and the medians are compared with float32's. Agreement counts the greedy tokens that float32 gives too, over
windows of a drawn place and one prompt of each granularity. ``--suite SUITE.toml --root DATA`` adds the scores of a
suite of `rsvlm eval`, the first of each row.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.process import run
from export.pack import open_source, pack
from export.quantise import ProfileName, VisionName, make_profile
from rsvlm_cli.commands.demo import draw_place
from rsvlm_cli.geo.picture import write_picture
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.settings import Settings
from rsvlm_cli.tasks.dialect import GRANULARITY, Dialect, PromptKind
from train.evaluate.run import evaluate
from train.evaluate.suite import Suite

N_TOKENS = 24
WINDOW_PX = 192
BOX = "[20, 20, 60, 60]"

VARIANTS: dict[str, tuple[ProfileName, int, VisionName]] = {
    "fp32": (ProfileName.FP32, 32, "fp32"),
    "fp16": (ProfileName.FP16, 32, "fp32"),
    "int8": (ProfileName.INT8, 32, "blocks"),
    "int8, tower by the token": (ProfileName.INT8, 32, "tokens"),
    "int8, tower by the picture": (ProfileName.INT8, 32, "dynamic"),
    "int4": (ProfileName.INT4, 32, "blocks"),
    "int4, whole decoder": (ProfileName.INT4_DECODER, 32, "blocks"),
    "int4 b128": (ProfileName.INT4, 128, "blocks"),
    "int4 b128, whole decoder": (ProfileName.INT4_DECODER, 128, "blocks"),
    "int4 b128, tower by the token": (ProfileName.INT4, 128, "tokens"),
}


@dataclass(slots=True)
class Result:
    """One row: sizes in MB, memory of a process that asks once in MB, ratios to float32, and scores by task."""

    profile: str
    size_mb: float
    peak_mb: float
    speed: float
    agreement: float
    same_replies: float
    scores: dict[str, float]


def prompts(dialect: Dialect) -> list[tuple[str, int]]:
    """Return one prompt of each granularity with its expert."""
    texts = {
        PromptKind.CAPTION: dialect.prompt(PromptKind.CAPTION),
        PromptKind.DESCRIBE: dialect.prompt(PromptKind.DESCRIBE, box=BOX),
        PromptKind.SEGMENT: dialect.prompt(PromptKind.SEGMENT, label="building"),
    }
    return [(text, int(GRANULARITY[kind])) for kind, text in texts.items()]


def windows(n: int) -> list[np.ndarray]:
    """Return ``n`` windows ``(WINDOW_PX, WINDOW_PX, 3)`` uint8 of drawn places."""
    places = [draw_place(count) for count in (4, 12, 24)]
    side = places[0].shape[0]
    corners = [(y, x) for y in range(0, side, WINDOW_PX) for x in range(0, side, WINDOW_PX)]
    cut = [place[y : y + WINDOW_PX, x : x + WINDOW_PX] for y, x in corners for place in places]
    return cut[:n]


def replies(engine: Engine, pictures: Sequence[np.ndarray]) -> list[list[int]]:
    """Return the greedy tokens of every prompt over every picture."""
    dialect, out = Dialect.from_json(dict(engine.manifest.dialect)), []
    for picture in pictures:
        features = engine.encode_images([picture])
        for prompt, expert in prompts(dialect):
            out.append([*engine.generate(features, prompt, expert, max_new_tokens=N_TOKENS).token_ids])
    return out


def time_round(engine: Engine, picture: np.ndarray) -> float:
    """Return the seconds of a picture that was not seen before, its prompts and their replies."""
    start = time.perf_counter()
    replies(engine, [picture])
    return time.perf_counter() - start


def agreement(found: list[list[int]], reference: list[list[int]]) -> tuple[float, float]:
    """Return the share of the reference's tokens that are the same, and of replies that are."""
    same = sum(a == b for f, r in zip(found, reference, strict=True) for a, b in zip(f, r, strict=False))
    total = sum(map(len, reference))
    return same / max(total, 1), sum(f == r for f, r in zip(found, reference, strict=True)) / len(reference)


def measure(options: argparse.Namespace, folder: Path) -> Iterator[Result]:
    """Export, ask and time every variant."""
    source = open_source(options.checkpoint)
    bundles = {
        name: pack(source, folder / str(k), make_profile(profile, block=block, vision=vision)).bundle
        for k, (name, (profile, block, vision)) in enumerate(VARIANTS.items())
    }
    engines = {name: Engine(bundle, device="cpu", threads=options.threads) for name, bundle in bundles.items()}
    pictures = windows(options.pictures)
    reference = replies(engines["fp32"], pictures)
    rounds = [
        {name: time_round(engine, picture) for name, engine in engines.items()}
        for picture in pictures[: options.rounds]
    ]
    medians = {name: statistics.median(one[name] for one in rounds) for name in engines}
    scene = folder / "scene.tif"
    write_picture(scene, draw_place(12), "EPSG:32736", (0.5, 0.0, 523_000.0, 0.0, -0.5, 9_252_000.0), overwrite=False)
    for name, bundle in bundles.items():
        command = [sys.executable, "-m", "rsvlm_cli", "caption", str(scene), "--model", str(bundle.path)]
        asked = run(name, command, {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}, folder)
        tokens, same = agreement(replies(engines[name], pictures), reference)
        scores = score(options, str(bundle.path)) if options.suite else {}
        size = sum(entry.size for entry in bundle.manifest.files.values())
        yield Result(name, size / 1e6, asked.peak_gb * 1000, medians["fp32"] / medians[name], tokens, same, scores)


def score(options: argparse.Namespace, bundle: str) -> dict[str, float]:
    """Return the first score of each row of the suite that found its data."""
    settings = Settings(model=bundle, threads=options.threads)
    found = evaluate(Suite.from_toml(options.suite), options.root, settings, limit=options.limit)
    return {row.row.name: row.scores[0].value for row in found.rows if row.scores}


def table(results: Sequence[Result]) -> str:
    """Return the Markdown table."""
    tasks = list(results[0].scores)
    head = ["profile", "MB", "peak MB", "speed", "same tokens", "same replies", *tasks]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for r in results:
        cells = [r.profile, f"{r.size_mb:.1f}", f"{r.peak_mb:.0f}", f"{r.speed:.2f}"]
        cells += [f"{r.agreement:.1%}", f"{r.same_replies:.1%}", *(f"{r.scores[task]:.3f}" for task in tasks)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiles", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder of any layout that is imported")
    parser.add_argument("--pictures", type=int, default=24, help="windows that the tokens are compared on (default 24)")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds of the timing (default 9)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--suite", type=Path, help="a suite whose scores are added (benchmarks/suites/)")
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the suite's data sets")
    parser.add_argument("--limit", type=int, default=100, help="requests a row and set at the most (default 100)")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="profiles.") as folder:
        results = list(measure(options, Path(folder)))
    print(table(results))
    print(
        f"\n{options.pictures} windows, 3 prompts each; {len(results)} profiles in turns, {options.threads} thread(s)"
    )
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Small things in large scenes: what looking closer is worth, and what it costs.

``python -m benchmarks.uhr --folder runs/uhr`` draws scenes (`benchmarks.big_scene`) in which each class stands once to
three times or not at all, and asks of each whether it is there and how many there are: the overview alone, parts of the
overview (``paper``), windows of the file (``auto``), and these where the default has them (``large``), through the road
that users take. A scene is 2048 px a side, sixteen times nano's picture. Answers are kept in the folder scene by scene,
so a run that is cut goes on where it stopped. Intervals are drawn by scene.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.big_scene import MAKERS, SceneRecipe, write_scene
from rsvlm_cli import pipeline
from rsvlm_cli.results import Answer
from rsvlm_cli.runtime.bundle import find_bundle, read_bundle
from rsvlm_cli.settings import Settings, ZoomMode
from rsvlm_cli.tasks.evidence import EVEN_ODDS_OF_HEAD
from rsvlm_cli.tasks.heads import SHARPNESS
from train.data.phrases import an, plural
from train.metrics.intervals import drawn_scores, interval_of

MODES: dict[str, ZoomMode] = {"overview": "off", "paper": "paper", "ours": "auto", "default": "large"}
LABELS = tuple(MAKERS)
MOST = 3
"""Things of one class in a scene at the most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what a mode made of it.

    Attributes:
        scene: the scene's name.
        topic: ``presence`` or ``count``.
        label: the class.
        mode: a key of `MODES`.
        truth: how many there are.
        said: the answer's text.
        score: the answer's probability.
        windows, tokens, seconds: its cost.
    """

    scene: str
    topic: str
    label: str
    mode: str
    truth: int
    said: str
    score: float
    windows: int
    tokens: int
    seconds: float

    @property
    def right(self) -> bool:
        """Say whether the answer is true."""
        return self.said == (str(self.truth) if self.topic == "count" else "yes" if self.truth else "no")

    @property
    def p_yes(self) -> float:
        """Return the probability of yes."""
        return self.score if self.said == "yes" else 1 - self.score


def plan_counts(n_scenes: int, seed: int) -> list[dict[str, int]]:
    """Return how many things of each class each scene is to hold; every class is in half of the scenes."""
    rng = np.random.default_rng(seed)
    there = np.array([rng.permutation(np.arange(n_scenes) % 2) for _ in LABELS])
    many = rng.integers(1, MOST + 1, there.shape) * there
    return [{label: int(n) for label, n in zip(LABELS, column, strict=True) if n} for column in many.T]


def draw_scenes(folder: Path, n_scenes: int, side_px: int, seed: int) -> Iterator[tuple[Path, dict[str, int]]]:
    """Draw the scenes that are not there yet; yield each with how many things of each class it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, counts in enumerate(plan_counts(n_scenes, seed)):
        path = folder / f"{side_px}-{seed}-{k:02d}of{n_scenes}.tif"
        listed = path.with_name(f"{path.stem}_objects.json")
        if not listed.exists():
            write_scene(path, SceneRecipe(width_px=side_px, height_px=side_px, counts=counts, seed=1000 * seed + k))
        found = [item["label"] for item in json.loads(listed.read_text(encoding="utf-8"))["objects"]]
        yield path, {label: found.count(label) for label in LABELS}


def questions_of(truth: dict[str, int], rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Return topic, label and question: as many yes as no, and two counts of what is there."""
    here, gone = ([label for label in LABELS if bool(truth[label]) is side] for side in (True, False))
    n = min(len(here), len(gone))
    chosen = [str(label) for side in (here, gone) for label in rng.permutation(side)[:n]]
    asked = [("presence", label, f"Is there {an(label)}?") for label in chosen]
    counted = [str(label) for label in rng.permutation(here)[:2]]
    return asked + [("count", label, f"How many {plural(label)} are there?") for label in counted]


def ask_scene(path: Path, truth: dict[str, int], mode: str, settings: Settings) -> list[Asked]:
    """Ask one scene everything, in one mode."""
    asked = questions_of(truth, np.random.default_rng(sum(path.stem.encode())))
    report = pipeline.ask([str(path)], [question for *_, question in asked], settings)
    answers = [result for result in report.results if isinstance(result, Answer)]
    rows = []
    for (topic, label, _), found in zip(asked, answers, strict=True):
        assert found.cost is not None
        cost = (found.cost.windows, found.cost.tokens, found.cost.seconds)
        rows.append(Asked(path.stem, topic, label, mode, truth[label], found.text, found.score or 0.0, *cost))
    return rows


def run(
    folder: Path, model: str, n_scenes: int, side_px: int, seed: int, threads: int | None, tta: int | None = None
) -> list[Asked]:
    """Ask every scene in every mode, or read what an earlier run with the same model was answered."""
    sha256, symmetries = read_bundle(find_bundle(model)).sha256[:12], f"-tta{tta}" if tta else ""
    kept = folder / f"answers-{sha256}{symmetries}-{side_px}-{seed}-{n_scenes}.jsonl"
    rows = [Asked(**json.loads(line)) for line in kept.read_text("utf-8").splitlines()] if kept.exists() else []
    done = {(row.scene, row.mode) for row in rows}
    wanted = set()
    for path, truth in draw_scenes(folder, n_scenes, side_px, seed):
        for mode, zoom in MODES.items():
            wanted.add((path.stem, mode))
            if (path.stem, mode) not in done:
                new = ask_scene(path, truth, mode, Settings(model=model, threads=threads, zoom=zoom, tta=tta))
                rows += new
                with kept.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(asdict(row)) + "\n" for row in new)
    # In one order for all modes: they are compared question by question.
    return sorted((row for row in rows if (row.scene, row.mode) in wanted), key=lambda row: row.scene)


# --- scores -----------------------------------------------------------------------------------------------------------


def rank_score(rows: list[Asked]) -> float:
    """Return how often a scene that has the thing is given more probability than one that has not: 0.5 is blind."""
    p_yes, there = np.array([row.p_yes for row in rows]), np.array([row.truth > 0 for row in rows])
    difference = p_yes[there][:, None] - p_yes[~there][None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean()) if difference.size else float("nan")


def accuracy(rows: list[Asked]) -> float:
    """Return the share of true answers."""
    return float(np.mean([row.right for row in rows]))


def error(rows: list[Asked]) -> float:
    """Return the mean absolute error of counts."""
    return float(np.mean([abs(int(row.said or 0) - row.truth) for row in rows]))


SCORES: tuple[tuple[str, str, Callable[[list[Asked]], float]], ...] = (
    ("presence", "accuracy (blind 0.50)", accuracy),
    ("presence", "ranking, AUC (blind 0.50)", rank_score),
    ("count", "exact", accuracy),
    ("count", "MAE, less is better", error),
)


def compare(rows: list[Asked], topic: str, score: Callable[[list[Asked]], float]) -> list[str]:
    """Return a score of each mode, and what ours has more than each other, with 95 % intervals."""
    by_mode = {mode: [row for row in rows if (row.topic, row.mode) == (topic, mode)] for mode in MODES}
    scenes = [row.scene for row in by_mode["ours"]]

    def of(mode: str, index: np.ndarray) -> float:
        return score([by_mode[mode][k] for k in index])

    def cell(value: Callable[[np.ndarray], float], sign: str = "") -> str:
        every = np.arange(len(scenes))
        low, high = interval_of(drawn_scores(scenes, lambda counts: value(np.repeat(every, counts))))
        return f"{value(every):{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"

    each = [cell(partial(of, mode)) for mode in MODES]
    return each + [cell(lambda i, m=mode: of("ours", i) - of(m, i), "+") for mode in ("overview", "paper")]  # type: ignore[misc]


def table(rows: list[Asked]) -> str:
    """Return the markdown tables of scores and of costs."""
    lines = ["| question | n | score | " + " | ".join(MODES) + " | ours - overview | ours - paper |"]
    lines.append("|---" * (5 + len(MODES)) + "|")
    for topic, name, score in SCORES:
        n = sum((row.topic, row.mode) == (topic, "ours") for row in rows)
        lines.append(f"| {topic} | {n} | {name} | " + " | ".join(compare(rows, topic, score)) + " |")
    lines += ["", "| a question, mean | " + " | ".join(MODES) + " |", "|---" * (1 + len(MODES)) + "|"]
    for what, form in (("windows", ".1f"), ("tokens", ",.0f"), ("seconds", ".2f")):
        means = [np.mean([getattr(row, what) for row in rows if row.mode == mode]) for mode in MODES]
        lines.append(f"| {what} | " + " | ".join(f"{mean:{form}}" for mean in means) + " |")
    return "\n".join(lines)


def fit_even_odds(rows: list[Asked]) -> float:
    """Return the even odds of a window's cell under which the truth of the questions of presence is likeliest.

    A scene's odds are a mean of its windows', each divided by the same even odds; so they move together.
    """
    asked = [row for row in rows if (row.topic, row.mode) == ("presence", "ours")]
    log_odds = np.array([np.log(row.p_yes / (1 - row.p_yes)) for row in asked])
    sign = np.array([1 if row.truth else -1 for row in asked])
    shifts = np.linspace(-3, 3, 601)
    loss = [np.logaddexp(0, -sign * (log_odds + shift)).mean() for shift in shifts]
    return float(EVEN_ODDS_OF_HEAD * np.exp(-shifts[np.argmin(loss)] / SHARPNESS))


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.uhr", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/uhr"), help="of the scenes and the answers")
    parser.add_argument("--model", default="nano", help="bundle name or folder")
    parser.add_argument("--scenes", type=int, default=26)
    parser.add_argument("--side", type=int, default=2048, help="of a scene, in pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tta", type=int, help="symmetries that a window is asked in; the bundle's own by default")
    parser.add_argument("--fit", action="store_true", help="print the even odds of windows that fit the answers best")
    args = parser.parse_args()
    rows = run(args.folder, args.model, args.scenes, args.side, args.seed, args.threads, args.tta)
    print(f"EVEN_ODDS_OF_HEAD {fit_even_odds(rows):.3f}" if args.fit else table(rows))


if __name__ == "__main__":
    main()

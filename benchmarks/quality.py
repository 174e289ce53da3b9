"""Scores of a bundle on prepared sets, through the very road that users take.

``python -m benchmarks.quality --data runs/data --model nano --json FILE`` asks the val side of each set (places that
training never saw), prints a table with 95 % intervals drawn by place, and beside each score what a model would get
that does not look at the image, or a plain image difference.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rsvlm_cli import pipeline
from rsvlm_cli.results import Answer, Box, ClassScores, Mask
from rsvlm_cli.scene import Settings
from train.data.phrases import an
from train.data.records import RECORDS_FILE, Record, read_records
from train.metrics.boxes import Counts, count_matches
from train.metrics.intervals import bootstrap_by_place
from train.metrics.masks import confusion, f1_of_labels, iou_of_labels
from train.metrics.text import bleu, cider_d

LAND_COVER = ("building", "unpaved land", "road", "vegetation", "water")


@dataclass(frozen=True, slots=True)
class Score:
    """One row of the table."""

    task: str
    data: str
    n: int
    metric: str
    value: float
    interval: tuple[float, float]
    blind: float | None
    blind_is: str


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the sets are, which model is asked, and how many records of a set at the most."""

    data: Path
    model: str
    limit: int

    def settings(self, **more: object) -> Settings:
        """Return settings for this model."""
        return Settings(model=self.model, **more)  # type: ignore[arg-type]

    def records(self, name: str, split: str = "val") -> list[Record]:
        """Return a set's records of a split, an even sample of at most ``limit``; none where the set is absent."""
        if not (self.data / name / RECORDS_FILE).exists():
            return []
        every = [record for record in read_records(self.data / name) if record.split == split]
        step = max(1, -(-len(every) // self.limit))
        return every[::step]

    def path(self, name: str, record: Record, which: int = 0) -> str:
        """Return an image's path."""
        return str(self.data / name / record.images[which])

    def truth(self, name: str, record: Record) -> np.ndarray:
        """Return a record's index mask, ``(H, W)`` uint8."""
        assert record.mask is not None
        with Image.open(self.data / name / record.mask) as image:
            return np.asarray(image)


def _row(
    task: str,
    data: str,
    metric: str,
    places: list[str],
    score: Callable[[np.ndarray], float],
    blind: float | None,
    blind_is: str,
) -> Score:
    value = score(np.arange(len(places)))
    return Score(task, data, len(places), metric, value, bootstrap_by_place(places, score), blind, blind_is)


def scene_class(bench: Bench) -> Iterator[Score]:
    """Top-1 of the scene class, among all the model was taught."""
    name = "aid150-rsicd"
    records, right = bench.records(name), []
    for record in records:
        (ranked,) = pipeline.classify(bench.path(name, record), (), bench.settings()).results
        assert isinstance(ranked, ClassScores)
        right.append(ranked.labels[0] == record.scene)
    if records:
        hits = np.array(right, float)
        common = max([r.scene for r in records].count(s) for s in {r.scene for r in records}) / len(records)
        yield _row(
            "classify",
            name,
            "top-1",
            [r.place for r in records],
            lambda i: float(hits[i].mean()),
            common,
            "commonest class",
        )


def captions(bench: Bench) -> Iterator[Score]:
    """CIDEr-D and BLEU-4 of captions."""
    name = "aid150-rsicd"
    records = [record for record in bench.records(name) if record.captions]
    said = [str(_answer(pipeline.caption(bench.path(name, r), bench.settings()).results[0]).text) for r in records]
    if records:
        refs, places = [r.captions for r in records], [r.place for r in records]
        each = cider_d(said, refs)
        common = "many green trees are around a building"
        blind = float(cider_d([common] * len(refs), refs).mean())
        yield _row("caption", name, "CIDEr-D", places, lambda i: float(each[i].mean()), blind, f'always "{common}"')
        pick: Callable[[np.ndarray], float] = lambda i: bleu([said[k] for k in i], [refs[k] for k in i])  # noqa: E731
        yield _row("caption", name, "BLEU-4", places, pick, bleu([common] * len(refs), refs), f'always "{common}"')


def presence(bench: Bench) -> Iterator[Score]:
    """Balanced accuracy of yes/no questions whose answer the boxes give: as many yes as no."""
    for name in ("nwpu-vhr10", "buildings-openaerialmap"):
        asked: list[tuple[Record, str, bool]] = []
        for k, record in enumerate(bench.records(name)):
            here = sorted({o.label for o in record.objects} & set(record.complete))
            gone = sorted(set(record.complete) - set(here))
            asked += [(record, labels[k % len(labels)], yes) for labels, yes in ((here, True), (gone, False)) if labels]
        right = []
        for record, label, yes in asked:
            answer = _answer(
                pipeline.ask([bench.path(name, record)], [f"Is there {an(label)}?"], bench.settings()).results[0]
            )
            right.append((answer.text == "yes") == yes)
        if asked:
            hits, truth = np.array(right, float), np.array([yes for *_, yes in asked])

            def balanced(i: np.ndarray, hits: np.ndarray = hits, truth: np.ndarray = truth) -> float:
                return float(
                    np.mean([hits[i][truth[i] == side].mean() for side in (True, False) if (truth[i] == side).any()])
                )

            yield _row(
                "ask, presence", name, "balanced accuracy", [r.place for r, *_ in asked], balanced, 0.5, "always yes"
            )


def counts(bench: Bench) -> Iterator[Score]:
    """Mean absolute error of building counts."""
    name = "buildings-openaerialmap"
    records = bench.records(name)
    truth = np.array([len(r.objects) for r in records], float)
    said = []
    for record in records:
        answer = _answer(
            pipeline.ask([bench.path(name, record)], ["How many buildings are there?"], bench.settings()).results[0]
        )
        said.append(float(answer.text) if answer.text.isdigit() else 0.0)
    if records:
        error, train = np.abs(np.array(said) - truth), [len(r.objects) for r in bench.records(name, "train")]
        blind = float(np.abs(truth - np.mean(train)).mean())
        yield _row(
            "ask, count",
            name,
            "MAE, less is better",
            [r.place for r in records],
            lambda i: float(error[i].mean()),
            blind,
            "training mean",
        )


def detection(bench: Bench) -> Iterator[Score]:
    """F1 at IoU 0.5, over all classes, at the command's own score threshold."""
    for name, labels in (
        ("nwpu-vhr10", ("airplane", "ship", "storage tank", "baseball diamond", "tennis court", "basketball court",
                        "ground track field", "harbor", "bridge", "vehicle")),
        ("buildings-openaerialmap", ("building",)),
    ):  # fmt: skip
        records, found = bench.records(name), []
        for record in records:
            known = [label for label in labels if label in record.complete]
            report = pipeline.detect(
                "detect", bench.path(name, record), known, bench.settings(tile="auto", min_score=0.2)
            )
            boxes = [box for box in report.results if isinstance(box, Box)]
            total = Counts()
            for label in known:
                mine = [box for box in boxes if box.label == label]
                truth = np.array([o.box_px for o in record.objects if o.label == label]).reshape(-1, 4)
                total += count_matches(
                    np.array([b.box_px for b in mine]).reshape(-1, 4), np.array([b.score for b in mine]), truth
                )
            found.append(total)
        if records:
            pick: Callable[[np.ndarray], float] = lambda i, found=found: sum((found[k] for k in i), Counts()).f1  # type: ignore[misc] # noqa: E731
            yield _row("detect", name, "F1 at IoU 0.5", [r.place for r in records], pick, None, "")


def segmentation(bench: Bench) -> Iterator[Score]:
    """IoU of masks against the full-resolution truth."""
    for name, labels in (
        ("dubai-landcover", LAND_COVER), ("cil-roads", ("road",)), ("gsi-japan-road", ("road",)),
        ("gsi-japan-solar", ("solar panel",)),
        ("amazon-forest-s2", ("forest",)), ("buildings-openaerialmap", ("building",)),
    ):  # fmt: skip
        records, tables = bench.records(name), []
        for record in records:
            report = pipeline.segment(bench.path(name, record), labels, bench.settings(tile="auto"))
            tables.append(
                confusion(
                    _paint(report.results[0], bench.truth(name, record).shape), bench.truth(name, record), len(labels)
                )
            )
        if records:
            stack = np.stack(tables)
            blind = _all_one(stack)
            score: Callable[[np.ndarray], float] = lambda i, s=stack: float(np.nanmean(iou_of_labels(s[i].sum(0))[1:]))  # type: ignore[misc] # noqa: E731
            metric = "mIoU of 5 classes" if len(labels) > 1 else "IoU"
            yield _row("segment", name, metric, [r.place for r in records], score, blind, "commonest class everywhere")


def _all_one(stack: np.ndarray) -> float:
    """Return the mean IoU over labels of marking the commonest label everywhere."""
    pixels = stack.sum((0, 2))
    return float(pixels[1:].max() / pixels.sum() / (len(pixels) - 1))


def change(bench: Bench) -> Iterator[Score]:
    """F1 of changed pixels, beside a grey difference whose threshold was tuned on the train side."""
    for name, word in (
        ("oscd", "urban"),
        ("sztaki-airchange", "land cover"),
        ("cd-samples", "building"),
        ("composites", "land cover"),
    ):
        pairs = [record for record in bench.records(name) if len(record.images) == 2 and record.mask]
        tables = []
        for record in pairs:
            before, after = bench.path(name, record, 0), bench.path(name, record, 1)
            report = pipeline.detect_change(before, after, (word,), bench.settings(tile="auto"))
            truth = (bench.truth(name, record) == 1).astype(np.uint8)
            tables.append(confusion(_paint(report.results[0], truth.shape), truth, 1))
        if pairs:
            stack = np.stack(tables)
            score: Callable[[np.ndarray], float] = lambda i, s=stack: float(np.nan_to_num(f1_of_labels(s[i].sum(0))[1]))  # type: ignore[misc] # noqa: E731
            yield _row(
                "detect-change",
                name,
                "F1",
                [r.place for r in pairs],
                score,
                _difference_f1(bench, name, pairs),
                "tuned image difference",
            )


def _difference_f1(bench: Bench, name: str, pairs: list[Record]) -> float:
    def tables(records: list[Record]) -> np.ndarray:
        """Confusion at each of 40 thresholds, ``(40, 2, 2)``."""
        total = np.zeros((40, 2, 2), np.int64)
        for record in records:
            grey = []
            for which in (0, 1):
                with Image.open(bench.path(name, record, which)) as image:
                    pixels = np.asarray(image.convert("L"), float)
                grey.append((pixels - pixels.mean()) / max(pixels.std(), 1e-6))
            difference, truth = np.abs(grey[1] - grey[0]), (bench.truth(name, record) == 1).astype(np.uint8)
            for k in range(40):
                total[k] += confusion((difference > 0.1 * (k + 1)).astype(np.uint8), truth, 1)
        return total

    train = [record for record in bench.records(name, "train") if len(record.images) == 2 and record.mask]
    best = int(np.nanargmax([f1_of_labels(table)[1] for table in tables(train)])) if train else 9
    return float(f1_of_labels(tables(pairs)[best])[1])


def _paint(mask: object, shape: tuple[int, ...]) -> np.ndarray:
    """Spread a mask's cells over the pixels of its raster, ``(H, W)`` uint8; no data counts as background."""
    assert isinstance(mask, Mask)
    x1, y1, x2, y2 = mask.area_px
    rows, columns = (np.arange(side) + 0.5 for side in shape)
    iy = ((rows - y1) / (y2 - y1) * mask.cells.shape[0]).astype(int).clip(0, mask.cells.shape[0] - 1)
    ix = ((columns - x1) / (x2 - x1) * mask.cells.shape[1]).astype(int).clip(0, mask.cells.shape[1] - 1)
    painted = mask.cells[np.ix_(iy, ix)]
    return np.where(painted == 255, 0, painted)


def _answer(result: object) -> Answer:
    assert isinstance(result, Answer)
    return result


TASKS = {
    "classify": scene_class,
    "caption": captions,
    "presence": presence,
    "count": counts,
    "detect": detection,
    "segment": segmentation,
    "change": change,
}


def table(scores: list[Score]) -> str:
    """Return the markdown table."""
    lines = ["| task | set | n | metric | score | 95 % interval | without looking |", "|---|---|---|---|---|---|---|"]
    for s in scores:
        blind = f"{s.blind:.2f} ({s.blind_is})" if s.blind is not None else ""
        lines.append(
            f"| {s.task} | {s.data} | {s.n} | {s.metric} | **{s.value:.3f}** "
            f"| {s.interval[0]:.2f} to {s.interval[1]:.2f} | {blind} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="folder of prepared sets")
    parser.add_argument("--model", default="nano", help="bundle name or folder")
    parser.add_argument("--limit", type=int, default=300, help="records of a set at the most")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--json", type=Path, help="write the scores here too")
    args = parser.parse_args()
    bench = Bench(args.data, args.model, args.limit)
    scores = [score for task in args.tasks for score in TASKS[task](bench)]
    print(table(scores))
    if args.json:
        args.json.write_text(json.dumps([asdict(score) for score in scores], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

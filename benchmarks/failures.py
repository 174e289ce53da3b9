"""Where the model errs most, as a picture: ``python -m benchmarks.failures OUT.png``.

Drawn scenes of a seed that training never used (imagery of the real sets may not be shown here) are asked for boxes of
all classes and for masks; of each task the scenes with the lowest score are shown, the truth at the left of what the
model said. A sheet of failures says what goes wrong, not how often: docs/model-card.md has the scores.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rsvlm_cli import pipeline
from rsvlm_cli.output.overlay import Picture, draw_results, label_colours
from rsvlm_cli.results import Box, Mask, Report
from rsvlm_cli.settings import Settings
from train.data.records import Record, read_records
from train.data.scenes.__main__ import make_set
from train.metrics.boxes import match_boxes

SEED, SIDE_PX, MARGIN_PX, LINE_PX = 4242, 300, 10, 18


@dataclass(frozen=True, slots=True)
class Case:
    """One scene: what is true of it, what was said, and how well that fits, in [0, 1]."""

    title: str
    truth: Report
    said: Report
    pixels: np.ndarray
    score: float


def detection_case(record: Record, folder: Path, settings: Settings) -> Case | None:
    """Ask for boxes; the score is F1 at IoU 0.5."""
    labels = [label for label in record.complete if label != "tree"]
    truth = [Box(label=item.label, box_px=item.box_px) for item in record.objects if item.label in labels]
    if len({box.label for box in truth}) < 2:
        return None
    path = str(folder / record.images[0])
    report = pipeline.detect("detect", path, labels, replace(settings, tile="auto"))
    said = [result for result in report.results if isinstance(result, Box)]
    n_hits = 0
    for label in labels:
        mine = [box for box in said if box.label == label]
        corners = np.array([box.box_px for box in mine], float).reshape(-1, 4)
        known = np.array([box.box_px for box in truth if box.label == label], float).reshape(-1, 4)
        n_hits += int(match_boxes(corners, np.array([box.score or 0.0 for box in mine]), known).sum())
    score = 2 * n_hits / max(1, len(said) + len(truth))
    title = f"detect: {n_hits} of {len(truth)} found, {len(said) - n_hits} of {len(said)} boxes wrong"
    return _case(title, report, truth, said, path, score)


def mask_case(record: Record, folder: Path, settings: Settings) -> Case | None:
    """Ask for masks; the score is the share of pixels with the right label."""
    if record.mask is None or len(record.images) != 1 or len(record.mask_labels) < 3:
        return None
    path = str(folder / record.images[0])
    report = pipeline.segment(path, record.mask_labels, replace(settings, tile="auto"))
    (said,) = (result for result in report.results if isinstance(result, Mask))
    with Image.open(folder / record.mask) as image:
        cells = np.asarray(image)
    height, width = cells.shape
    shown = np.asarray(Image.fromarray(said.cells).resize((width, height), Image.Resampling.NEAREST))
    known = (cells != 255) & (shown != 255)
    score = float((cells == shown)[known].mean()) if known.any() else 1.0
    truth = Mask(labels=record.mask_labels, cells=cells, area_px=(0, 0, width, height))
    return _case(f"segment: {score:.0%} of pixels right", report, [truth], [said], path, score)


def _case(
    title: str, report: Report, truth: Sequence[Box | Mask], said: Sequence[Box | Mask], path: str, score: float
) -> Case:
    # What is drawn takes its colours from all labels, so that both panels agree.
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return Case(title, replace(report, results=tuple(truth)), replace(report, results=tuple(said)), pixels, score)


def worst(
    records: Sequence[Record], make: Callable[[Record, Path, Settings], Case | None], n: int, folder: Path, model: str
) -> list[Case]:
    """Return the n scenes with the lowest scores, the worst first."""
    cases = (make(record, folder, Settings(model=model)) for record in records)
    return sorted((case for case in cases if case is not None), key=lambda case: case.score)[:n]


def draw_sheet(rows: Sequence[Sequence[Case]]) -> Image.Image:
    """Draw cases, a row for each sequence; each case is its truth, what was said, and a legend below."""
    font = ImageFont.load_default(12)
    cell = (2 * SIDE_PX + 2 * MARGIN_PX, SIDE_PX + 4 * LINE_PX + MARGIN_PX)
    sheet = Image.new("RGB", (max(map(len, rows)) * cell[0], len(rows) * cell[1]), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(rows):
        for c, case in enumerate(row):
            x, y = c * cell[0] + MARGIN_PX, r * cell[1]
            draw.text((x, y + 2), f"{case.title} (left: truth)", (30, 30, 30), font)
            for k, panel in enumerate(_panels(case)):
                sheet.paste(panel, (x + k * (SIDE_PX + 4), y + LINE_PX))
            for k, line in enumerate(_legend(case)):
                at = x
                for label, colour in line:
                    top = y + SIDE_PX + LINE_PX * (k + 1) + 4
                    draw.rectangle((at, top + 2, at + 10, top + 12), fill=colour)
                    draw.text((at + 14, top), label, (30, 30, 30), font)
                    at += 30 + round(font.getlength(label))
    return sheet


def _panels(case: Case) -> Iterator[Image.Image]:
    height, width = case.pixels.shape[:2]
    picture = Picture(pixels=case.pixels, area_px=(0, 0, width, height), title="")
    size = (SIDE_PX, SIDE_PX)
    for shown in (case.truth, case.said):
        # Labels of both, so that a label has one colour; what belongs to the other is drawn beyond the panel.
        yield draw_results(_with_all_labels(case, shown), picture, Image.fromarray(case.pixels).resize(size))


def _with_all_labels(case: Case, shown: Report) -> Report:
    away = [Box(label=label, box_px=(-9e3, -9e3, -8e3, -8e3)) for label in label_colours(_both(case))]
    return replace(shown, results=(*away, *shown.results))


def _both(case: Case) -> Report:
    return replace(case.truth, results=(*case.truth.results, *case.said.results))


def _legend(case: Case) -> list[list[tuple[str, tuple[int, int, int]]]]:
    lines: defaultdict[int, list[tuple[str, tuple[int, int, int]]]] = defaultdict(list)
    for k, entry in enumerate(label_colours(_both(case)).items()):
        lines[k // 5].append(entry)
    return list(lines.values())[:3]


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failures", description=__doc__)
    parser.add_argument("out", type=Path, help="the picture, .png")
    parser.add_argument("--model", default="nano", help="a bundle's name or folder")
    parser.add_argument("--scenes", type=int, default=60, help="how many are drawn")
    parser.add_argument("--worst", type=int, default=2, help="how many of each task are shown")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_set(folder, arguments.scenes, SEED)
        records = [record for record in read_records(folder) if len(record.images) == 1]
        rows = [worst(records, make, arguments.worst, folder, arguments.model) for make in (detection_case, mask_case)]
        draw_sheet(rows).quantize(128).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()

"""The result drawn over the imagery, for a person to look at: a PNG, or half blocks in a terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rsvlm_cli.geo.write import COLOURS
from rsvlm_cli.output.document import cover
from rsvlm_cli.output.text import report_to_text
from rsvlm_cli.results import Box, BoxPx, Count, Mask, Report

MASK_OPACITY = 0.5
MIN_SIDE_PX, MAX_SIDE_PX = 512, 1024
MARGIN_PX, LINE_PX, FONT_PX = 8, 20, 14
INK, PAPER = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What lies under the drawing.

    Attributes:
        pixels: ``(H, W, 3)`` uint8.
        area_px: the part of the raster it shows.
        title: a line above it.
    """

    pixels: np.ndarray
    area_px: BoxPx
    title: str


def draw_overlay(report: Report, pictures: Sequence[Picture]) -> Image.Image:
    """Draw boxes and masks over the last picture; all pictures side by side, a legend, the answers and a scale bar."""
    colours = label_colours(report)
    panels = [_panel(picture) for picture in pictures]
    panels[-1] = draw_results(report, pictures[-1], panels[-1])
    texts = _legend(report)
    width = max(sum(panel.width + MARGIN_PX for panel in panels) + MARGIN_PX, 320)
    height = max(panel.height for panel in panels) + LINE_PX * (2 + len(texts)) + 2 * MARGIN_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    x = MARGIN_PX
    for panel, picture in zip(panels, pictures, strict=True):
        draw.text((x, MARGIN_PX // 2), picture.title, INK, font)
        sheet.paste(panel, (x, MARGIN_PX + LINE_PX))
        x += panel.width + MARGIN_PX
    y = MARGIN_PX + LINE_PX + max(panel.height for panel in panels) + MARGIN_PX // 2
    _draw_scale_bar(draw, font, report, pictures[-1], panels[-1].width, y)
    for k, (label, text) in enumerate(texts, start=1):
        top = y + k * LINE_PX
        if label is not None:
            draw.rectangle((MARGIN_PX, top + 3, MARGIN_PX + 14, top + LINE_PX - 4), fill=colours[label], outline=INK)
        draw.text((MARGIN_PX + (20 if label is not None else 0), top + 1), text, INK, font)
    return sheet


def label_colours(report: Report) -> dict[str, tuple[int, int, int]]:
    """Return each label's colour, in the order of appearance."""
    labels: dict[str, None] = {}
    for result in report.results:
        if isinstance(result, (Box, Mask)):
            labels |= dict.fromkeys((result.label,) if isinstance(result, Box) else result.labels)
    return {label: COLOURS[k % len(COLOURS)] for k, label in enumerate(labels)}


def draw_results(report: Report, picture: Picture, panel: Image.Image) -> Image.Image:
    """Return the panel with masks blended in and boxes outlined."""
    colours = label_colours(report)
    scale = np.array([panel.width, panel.height] * 2) / _sides(picture.area_px)
    origin = np.array(picture.area_px[:2] * 2)
    for mask in (result for result in report.results if isinstance(result, Mask)):
        panel = _blend(panel, mask, (np.array(mask.area_px) - origin) * scale, colours)
    draw = ImageDraw.Draw(panel)
    for box in (result for result in report.results if isinstance(result, Box)):
        ring = [(float(x), float(y)) for x, y in (np.array(box.outline_px) - origin[:2]) * scale[:2]]
        for colour, width in (((0, 0, 0), 4), (colours[box.label], 2)):
            draw.line([*ring, *ring[:2]], fill=colour, width=width, joint="curve")
    return panel


def draw_small(report: Report, picture: Picture, width: int) -> Image.Image:
    """Draw results over a picture of a width in pixels, without legend."""
    height = max(1, round(width * picture.pixels.shape[0] / picture.pixels.shape[1]))
    return draw_results(report, picture, Image.fromarray(picture.pixels).resize((width, height)))


def half_blocks(image: Image.Image, columns: int) -> str:
    """Return an image as lines of upper half blocks in 24-bit colour, two pixels a character."""
    rows = max(1, round(image.height / image.width * columns / 2))
    small = np.asarray(image.convert("RGB").resize((columns, 2 * rows), Image.Resampling.BOX))
    lines = []
    for upper, lower in zip(small[0::2], small[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m▀" for a, b in zip(upper, lower, strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m\n")
    return "".join(lines)


def _panel(picture: Picture) -> Image.Image:
    """Return the picture at a size to look at, square ground pixels kept."""
    width, height = (float(v) for v in _sides(picture.area_px)[:2])
    longest = min(max(width, height, MIN_SIDE_PX), MAX_SIDE_PX)
    size = tuple(max(1, round(side / max(width, height) * longest)) for side in (width, height))
    resample = Image.Resampling.NEAREST if picture.pixels.shape[1] <= size[0] else Image.Resampling.BOX
    return Image.fromarray(picture.pixels).resize((size[0], size[1]), resample)


def _blend(
    panel: Image.Image, mask: Mask, corners: np.ndarray, colours: dict[str, tuple[int, int, int]]
) -> Image.Image:
    palette = np.array([(0, 0, 0), *(colours[label] for label in mask.labels)], np.uint8)
    alpha = (MASK_OPACITY * 255 * ((mask.cells > 0) & (mask.cells != 255))).astype(np.uint8)
    layer = np.dstack([palette[np.where(mask.cells == 255, 0, mask.cells)], alpha])
    x1, y1, x2, y2 = (round(float(v)) for v in corners)
    tinted = Image.new("RGBA", panel.size)
    tinted.paste(
        Image.fromarray(layer, "RGBA").resize((max(1, x2 - x1), max(1, y2 - y1)), Image.Resampling.NEAREST), (x1, y1)
    )
    return Image.alpha_composite(panel.convert("RGBA"), tinted).convert("RGB")


def _legend(report: Report) -> list[tuple[str | None, str]]:
    """Return lines of text, each with the label whose colour stands before it, or None."""
    lines: list[tuple[str | None, str]] = []
    for mask in (result for result in report.results if isinstance(result, Mask)):
        lines += [(c.label, f"{c.label}: {c.share:.1%}") for c in cover(mask, report.sources[0])]
    boxes = [result for result in report.results if isinstance(result, Box)]
    for label in dict.fromkeys(box.label for box in boxes):
        scores = [box.score for box in boxes if box.label == label and box.score is not None]
        best = f", best score {max(scores):.2f}" if scores else ""
        lines.append((label, f"{label}: {sum(box.label == label for box in boxes)}{best}"))
    words = [result for result in report.results if not isinstance(result, (Box, Count, Mask))]
    for result in words:
        question = getattr(result, "question", None)
        text = report_to_text(Report(task="", model=("", ""), sources=report.sources, results=(result,)))
        lines += [(None, line) for line in ([question] if question else []) + text.splitlines()[:5]]
    return [(label, line if len(line) <= 100 else line[:99] + "…") for label, line in lines] or [
        (None, "nothing found")
    ]


def _draw_scale_bar(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    report: Report,
    picture: Picture,
    width: int,
    y: int,
) -> None:
    gsd_m = report.sources[0].gsd_m
    if gsd_m is None:
        return
    metres_per_px = gsd_m * float(_sides(picture.area_px)[0]) / width
    length_m = _round_length(metres_per_px * width / 4)
    length_px = length_m / metres_per_px
    draw.line((MARGIN_PX, y + LINE_PX // 2, MARGIN_PX + length_px, y + LINE_PX // 2), fill=INK, width=3)
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    draw.text((MARGIN_PX + length_px + 6, y + 1), text, INK, font)


def _round_length(length_m: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is no longer."""
    power = 10.0 ** math.floor(math.log10(length_m))
    return max(step * power for step in (1, 2, 5) if step * power <= length_m)


def _sides(area_px: BoxPx) -> np.ndarray:
    """Return width, height, width, height."""
    return np.array([area_px[2] - area_px[0], area_px[3] - area_px[1]] * 2, float)

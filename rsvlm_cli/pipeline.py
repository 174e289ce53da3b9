"""THE ROAD: raster -> window -> picture -> features -> prompt -> reply -> results in the raster's pixels -> report.

Each task is a few lines over a `Scene` (rasters with a model before them) and its `View` (a window, encoded once).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType

import numpy as np

from rsvlm_cli import zoom
from rsvlm_cli.errors import WindowOutside
from rsvlm_cli.geo.region import parse_region
from rsvlm_cli.geo.tiling import window_around
from rsvlm_cli.results import Answer, Box, Exchange, Mask, Report, Result
from rsvlm_cli.runtime.features import Spot
from rsvlm_cli.scene import TRANSCRIPT_LENGTH, Progress, Scene, Settings, View, open_scene, open_scenes
from rsvlm_cli.tasks import caption as caption_task
from rsvlm_cli.tasks import classify as classify_task
from rsvlm_cli.tasks import describe as describe_task
from rsvlm_cli.tasks import describe_change as describe_change_task
from rsvlm_cli.tasks import detect_change as detect_change_task
from rsvlm_cli.tasks import ground as ground_task
from rsvlm_cli.tasks import segment as segment_task
from rsvlm_cli.tasks.cells import REACHES, SIDE_MARKS, format_blocks, spot_of
from rsvlm_cli.tasks.exchange import FoundBox, FoundMask, Request
from rsvlm_cli.tasks.merge import Mosaic, suppress_repeated

CONTEXT = 3
"""A region is described within a window so many times its size, unless a window was asked for."""


def caption(path: str, settings: Settings) -> Report:
    """Caption a raster."""
    with open_scene([path], settings) as scene:
        return scene.report("caption", [caption_task.read(scene.look().generate(caption_task.request(scene.dialect)))])


def ask(paths: Sequence[str], questions: Sequence[str], settings: Settings, progress: Progress | None = None) -> Report:
    """Answer questions about a raster, or about two dates; each answer is followed by the windows looked at for it."""
    with open_scene(paths, settings) as scene:
        view, results = scene.look(), list[Result]()
        for question in questions:
            found, hops = zoom.answer(view, question, progress)
            results += [found, *hops]
        return scene.report("ask", results)


def answer(view: View, question: str) -> Answer:
    """Answer one question about a view."""
    return zoom.answer(view, question)[0]


def classify(path: str, labels: Sequence[str], settings: Settings) -> Report:
    """Rank labels by likelihood; without any, the bundle's own scene classes."""
    with open_scene([path], settings) as scene:
        labels = scene.taught("scene", labels)
        request = classify_task.request(scene.dialect, labels)
        return scene.report("classify", [classify_task.read(labels, scene.look().score(request))])


def describe(path: str, region: str, settings: Settings) -> Report:
    """Describe a region of a raster.

    Raises:
        WindowOutside: if the region does not lie in the window that was asked for.
    """
    with open_scene([path], settings) as scene:
        box_px = parse_region(region, scene.rasters[0])
        if settings.window is None:
            side_px = max(CONTEXT * (box_px[2] - box_px[0]), CONTEXT * (box_px[3] - box_px[1]), scene.model_side_px)
            scene.window_px = window_around(box_px, side_px, scene.rasters[0].width_px, scene.rasters[0].height_px)
        view = scene.look()
        if min(view.box_frac(box_px)) < 0 or max(view.box_frac(box_px)) > 1:
            raise WindowOutside(f"{path}: region {region} reaches beyond --window {settings.window} (leave it out)")
        answered = describe_task.read(view.generate(describe_task.request(scene.dialect, view.box_frac(box_px))))
        return scene.report("describe", [answered, Box(label=answered.text, box_px=box_px)])


def describe_change(paths: Sequence[str], settings: Settings) -> Report:
    """Say what changed from each date to the next."""

    def describe_one(scene: Scene) -> Report:
        reply = scene.look().generate(describe_change_task.request(scene.dialect))
        return scene.report("describe-change", [describe_change_task.read(reply)])

    with open_scenes(paths, settings) as scenes:
        return in_series([describe_one(scene) for scene in scenes])


def detect(
    task: str, path: str, phrases: Sequence[str], settings: Settings, progress: Progress | None = None
) -> Report:
    """Find every box of each phrase; without any, of the bundle's own object classes."""
    with open_scene([path], settings) as scene:
        phrases = phrases if task == "ground" else scene.taught("objects", phrases)
        boxes: list[Box] = []
        for view in scene.views(progress):
            for phrase in phrases:
                boxes += [_box(view, box) for box in _find(view, phrase) if box.score >= settings.min_score]
        return scene.report(task, suppress_repeated(boxes, across_labels=task == "detect"))


def segment(path: str, labels: Sequence[str], settings: Settings, progress: Progress | None = None) -> Report:
    """Mask labels; without any, the bundle's own."""
    with open_scene([path], settings) as scene:
        return scene.report("segment", [_mask(scene, segment_task, scene.taught("masks", labels), progress)])


def detect_change(
    paths: Sequence[str], labels: Sequence[str], settings: Settings, progress: Progress | None = None
) -> Report:
    """Mask what changed from each date to the next; without labels, the bundle's own."""

    def detect_one(scene: Scene) -> Report:
        mask = _mask(scene, detect_change_task, scene.taught("change", labels), progress)
        return scene.report("detect-change", [mask])

    with open_scenes(paths, settings) as scenes:
        return in_series([detect_one(scene) for scene in scenes])


def in_series(reports: Sequence[Report]) -> Report:
    """Put the reports of dates that follow each other into one; each result says which two dates it speaks of."""
    results = [
        replace(result, pair=(k, k + 1)) if isinstance(result, (Answer, Mask)) else result
        for k, report in enumerate(reports)
        for result in report.results
    ]
    seconds: dict[str, float] = {}
    for report in reports:
        for stage, value in report.seconds.items():
            seconds[stage] = round(seconds.get(stage, 0.0) + value, 4)
    return replace(
        reports[0],
        sources=(reports[0].sources[0], *(report.sources[1] for report in reports)),
        results=tuple(results),
        truncated=any(report.truncated for report in reports),
        warnings=tuple(dict.fromkeys(warning for report in reports for warning in report.warnings)),
        seconds=seconds,
        transcript=tuple(exchange for report in reports for exchange in report.transcript)[:TRANSCRIPT_LENGTH],
        n_asked=sum(report.n_asked for report in reports),
    )


def _mask(scene: Scene, task: ModuleType, labels: tuple[str, ...], progress: Progress | None) -> Mask:
    grid, tile_px = scene.dialect.mask_grid, scene.tile_px()
    x1, y1, x2, y2 = scene.window_px
    cells = [
        grid if tile_px is None or side <= tile_px else math.ceil(side * grid / tile_px) for side in (y2 - y1, x2 - x1)
    ]
    mosaic, method = Mosaic(labels, scene.window_px, (cells[0], cells[1])), ""
    for view in scene.views(progress):
        found = [_look_for(view, task, label) for label in labels]
        mosaic.add(view.window_px, np.stack([mask.p_set for mask in found]), view.valid_cells(grid))
        method = found[0].score_method
    return mosaic.finish(scene.settings.threshold, method)


def _look_for(view: View, task: ModuleType, label: str) -> FoundMask:
    request = task.request(view.scene.dialect, label)
    if request.choices:
        return segment_task.read_cells(label, _read_cells(view, request, label))
    return segment_task.read(view.scene.dialect, label, view.generate(request))


def _find(view: View, phrase: str) -> list[FoundBox]:
    request = ground_task.request(view.scene.dialect, phrase)
    if request.choices:
        reach_at = partial(_read_reach, view, request, phrase)
        return ground_task.read_cells(
            phrase, _read_cells(view, request, phrase), reach_at, view.scene.settings.min_score
        )
    return ground_task.read(view.scene.dialect, phrase, view.generate(request))


def _read_cells(view: View, request: Request, phrase: str) -> np.ndarray:
    spots = _every_token(view, phrase)
    p_block = _read(view, request, spots, request.choices, len(spots))
    drawn = format_blocks(p_block.argmax(axis=1))
    view.scene.note(Exchange(window_px=view.window_px, prompt=request.prompt, reply=drawn))
    return p_block


def _read_reach(view: View, request: Request, phrase: str, row: int, column: int) -> np.ndarray:
    """Ask a cell for its box's sides; every cell was read before and is still in the decoder's cache."""
    spots = _every_token(view, phrase)
    token, corner = spot_of(row, column, 2 * round(len(spots) ** 0.5))
    sides = [Spot(token, (phrase, corner, side)) for side in SIDE_MARKS]
    return _read(view, request, spots + sides, REACHES, len(sides))


def _every_token(view: View, phrase: str) -> list[Spot]:
    # The last vector of a picture is its newline.
    return [Spot(token, (phrase,)) for token in range(view.scene.bundle.manifest.image.tokens - 1)]


def _read(view: View, request: Request, spots: Sequence[Spot], choices: Sequence[str], n: int) -> np.ndarray:
    with view.scene.timed("decode"):
        return view.scene.engine.read(view.features, request.prompt, request.expert, spots, choices, n)


def _box(view: View, box: FoundBox) -> Box:
    return Box(label=box.label, box_px=view.box_px(box.box_frac), score=box.score, score_method=box.score_method)

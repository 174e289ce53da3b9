"""THE ROAD: raster -> window -> picture -> features -> prompt -> reply -> results in the raster's pixels -> report.

Each task is a few lines over a `Scene` (rasters with a model before them) and its `View` (a window, encoded once).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rsvlm_cli.errors import WindowOutside
from rsvlm_cli.geo.region import parse_region
from rsvlm_cli.geo.tiling import window_around
from rsvlm_cli.results import Answer, Box, Count, Mask, Report, Result
from rsvlm_cli.road.boxes import FindBoxes, sweep_boxes
from rsvlm_cli.road.heads import knows, see_scene
from rsvlm_cli.road.journal import Journal, open_journal
from rsvlm_cli.road.masks import ReadMasks, sweep_mask
from rsvlm_cli.road.scale import plan_lattice
from rsvlm_cli.road.sweep import Sweep
from rsvlm_cli.scene import TRANSCRIPT_LENGTH, Progress, Scene, View, open_scene, open_scenes
from rsvlm_cli.settings import Settings
from rsvlm_cli.tally import add_looks
from rsvlm_cli.tasks import caption as caption_task
from rsvlm_cli.tasks import classify as classify_task
from rsvlm_cli.tasks import describe as describe_task
from rsvlm_cli.tasks import describe_change as describe_change_task
from rsvlm_cli.zoom import answer as zoom

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
        view = scene.look()
        if knows(view, "scenes", *labels):
            return scene.report("classify", [classify_task.read_head(labels, see_scene(view, labels))])
        logprobs = view.score(classify_task.request(scene.dialect, labels))
        return scene.report("classify", [classify_task.read(labels, logprobs)])


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
    """Find every box of each phrase, and where the task is ``count`` say how many; without any, of the bundle's own."""
    with open_scene([path], settings) as scene:
        phrases = tuple(phrases) if task == "ground" else scene.taught("objects", phrases)
        least = {label: settings.least_score(scene.quality, task, label) for label in phrases}
        lattice = plan_lattice(scene, "objects", phrases)
        with open_journal(scene, task, phrases) as journal:
            sweep = Sweep(scene, FindBoxes(least), journal, progress)
            boxes = sweep_boxes(sweep, lattice, across_labels=task != "ground")
        found = Counter(box.label for box in boxes)
        counts = [Count(label=label, n=found[label], min_score=least[label]) for label in phrases]
        return scene.report(task, [*(counts if task == "count" else ()), *boxes])


def segment(path: str, labels: Sequence[str], settings: Settings, progress: Progress | None = None) -> Report:
    """Mask labels; without any, the bundle's own."""
    with open_scene([path], settings) as scene:
        labels = scene.taught("masks", labels)
        with open_journal(scene, "segment", labels) as journal:
            return _mask(scene, "segment", labels, journal, progress)


def detect_change(
    paths: Sequence[str], labels: Sequence[str], settings: Settings, progress: Progress | None = None
) -> Report:
    """Mask what changed from each date to the next; without labels, the bundle's own."""
    with open_scenes(paths, settings) as scenes:
        labels = scenes[0].taught("change", labels)
        with open_journal(scenes[0], "detect-change", labels) as journal:
            return in_series([_mask(scene, "detect-change", labels, journal, progress) for scene in scenes])


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
        looks=add_looks(look for report in reports for look in report.looks),
        truncated=any(report.truncated for report in reports),
        warnings=tuple(dict.fromkeys(warning for report in reports for warning in report.warnings)),
        seconds=seconds,
        transcript=tuple(exchange for report in reports for exchange in report.transcript)[:TRANSCRIPT_LENGTH],
        n_asked=sum(report.n_asked for report in reports),
    )


def _mask(
    scene: Scene,
    task: Literal["segment", "detect-change"],
    labels: tuple[str, ...],
    journal: Journal,
    progress: Progress | None,
) -> Report:
    lattice = plan_lattice(scene, "masks" if task == "segment" else "change", labels)
    return scene.report(task, [sweep_mask(Sweep(scene, ReadMasks(task, labels), journal, progress), lattice, labels)])

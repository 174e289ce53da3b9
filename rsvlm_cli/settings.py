"""What the user chose, and what a scene was opened from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Device = Literal["auto", "cpu", "cuda"]
ZoomMode = Literal["auto", "large", "off", "paper"]

LEAST_SCORE = 0.2
LEAST_PROBABILITY = 0.5
"""Where neither the user nor the bundle says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user chose; `rsvlm_cli.options` says it in words.

    Attributes:
        model: a bundle's name or folder.
        device, threads: where the model runs.
        max_tokens: instead of the task's own budget, or None.
        temperature, seed: of sampling free text; replies under a grammar are always decoded greedily.
        bands, stretch, dem: as `geo.raster.open_raster`.
        window: the part to look at, as `geo.region.parse_region`, or None for all of it.
        aoi: a vector file of the part to look at, as `geo.aoi.read_aoi`, or None.
        tile: ``auto``, ``whole``, or the side of a window in raster pixels.
        scale: ``native``, or the ground in metres that a model pixel shall show, or None: as ``tile`` says.
        cell: how fine a mask is wanted, as ``2m`` or ``4px``, or None: as its windows give.
        jobs: processes that look at windows.
        journal: keeps what windows said, so that a run that was interrupted goes on, or None.
        min_score: boxes that score less are left out, in [0, 1], or None for what suits the model.
        threshold: probability from which a mask's cell is set, in [0, 1], or None for what suits the model.
        tta: in how many symmetries a picture is looked at (`runtime.symmetry`), or None for what suits the model.
        zoom, max_hops: how `rsvlm_cli.zoom` looks closer for an answer, and at how many windows at the most, or None.
        coregister, radiometry, dates: of several dates, as `geo.align.Comparison`.
    """

    model: str = "nano"
    device: Device = "auto"
    threads: int | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0
    bands: str | None = None
    stretch: str = "auto"
    dem: str | None = None
    window: str | None = None
    aoi: str | None = None
    tile: str = "whole"
    scale: str | None = None
    cell: str | None = None
    jobs: int = 1
    journal: Path | None = None
    min_score: float | None = None
    threshold: float | None = None
    tta: int | None = None
    zoom: ZoomMode = "large"
    max_hops: int | None = None
    coregister: bool = False
    radiometry: Literal["auto", "match", "none"] = "auto"
    dates: str | None = None

    def least_score(self, quality: Mapping[str, Any], task: str = "detect", label: str = "") -> float:
        """Return `min_score`, or what ``rsvlm eval --fit`` found.

        Args:
            quality: a bundle's.
            task: ``ground``, ``count`` or ``detect``; what is not known of a count is as of ``detect``.
            label: of what is counted.
        """
        if self.min_score is not None:
            return self.min_score
        best: Mapping[str, float] = quality.get("best_thresholds", {})
        of_label: Mapping[str, float] = quality.get("label_thresholds", {}).get("count", {})
        if task == "count" and label in of_label:
            return of_label[label]
        return best.get("ground" if task == "ground" else "detect", LEAST_SCORE)

    def thresholds(self, quality: Mapping[str, Any], task: str, labels: Sequence[str]) -> tuple[float, ...]:
        """Return `threshold`, or what ``rsvlm eval --fit`` found for each label.

        Args:
            quality: a bundle's.
            task: ``segment`` or ``detect-change``.
            labels: of a mask.
        """
        fitted: Mapping[str, float] = quality.get("label_thresholds", {}).get(task, {})
        return tuple(
            fitted.get(label, LEAST_PROBABILITY) if self.threshold is None else self.threshold for label in labels
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """What a scene was opened from, so that another process can open it too.

    Attributes:
        paths: the rasters.
        settings: what the user chose.
        which: of the dates that follow each other, the earlier one of this scene.
    """

    paths: tuple[str, ...]
    settings: Settings
    which: int = 0

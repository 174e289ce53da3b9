"""Reports to stdout and to files, one item or many; an item that fails does not take the others with it."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TextIO

from rsvlm_cli.errors import BatchError, ReplyTruncated, RsvlmError, UsageError
from rsvlm_cli.geo.align import Comparison, open_dates
from rsvlm_cli.geo.raster import Raster, open_raster, open_unstretched
from rsvlm_cli.geo.write import replaced_file, write_mask
from rsvlm_cli.output.document import dump, report_to_json
from rsvlm_cli.output.features import report_features
from rsvlm_cli.output.files import check_target, write_style, write_text
from rsvlm_cli.output.geojson import require_lonlat, to_geojson
from rsvlm_cli.output.geopackage import write_geopackage
from rsvlm_cli.output.overlay import MAX_SIDE_PX, Picture, draw_overlay, draw_small, half_blocks, label_colours
from rsvlm_cli.output.page import MAX_PAGE_SIDE_PX, build_page
from rsvlm_cli.output.stac import build_item
from rsvlm_cli.output.style import style_qml
from rsvlm_cli.output.text import looks_to_text, report_to_text
from rsvlm_cli.results import Mask, Report

logger = logging.getLogger(__name__)

MASK_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (".geojson", ".gpkg", ".html", ".json", ".jsonl", ".png", ".txt", *MASK_SUFFIXES)
STEM = "{stem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where reports go.

    Attributes:
        json: one JSON object on stdout instead of text.
        jsonl: one JSON object a line on stdout instead of text.
        out: a file, its form told by its suffix; ``{stem}`` stands for each raster's name.
        preview: a PNG of the result over the image, or None.
        report: an HTML page of the result, or None.
        stac: a STAC item of the result and its files, or None.
        show: whether to draw it on the terminal.
        overwrite: whether files are replaced.
        bands, stretch, dem: how pictures are read for drawing, as the model's were.
        command: what the user typed.
    """

    json: bool = False
    jsonl: bool = False
    out: Path | None = None
    preview: Path | None = None
    report: Path | None = None
    stac: Path | None = None
    show: bool = False
    overwrite: bool = False
    bands: str | None = None
    stretch: str = "auto"
    dem: str | None = None
    command: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files to write."""
        return tuple(path for path in (self.out, self.preview, self.report, self.stac) if path is not None)

    def of(self, raster: str) -> "Targets":
        """Return the targets of one raster, ``{stem}`` filled in."""
        out, preview, report, stac = (
            path and Path(str(path).replace(STEM, Path(raster).stem))
            for path in (self.out, self.preview, self.report, self.stac)
        )
        return replace(self, out=out, preview=preview, report=report, stac=stac)

    def journal(self, raster: str) -> Path | None:
        """Return the file beside the output that keeps what a raster's windows said until the output is there."""
        out = self.of(raster).out
        if out is None:
            return None
        # Lines of several rasters go into one file.
        name = f"{out.name}.{Path(raster).stem}" if out.suffix == ".jsonl" else out.name
        return out.with_name(f"{name}.journal")

    def check(self, rasters: Sequence[str], *, masks: bool) -> None:
        """Refuse what cannot be written before any work is done; ``masks`` says whether the task makes one.

        Raises:
            UsageError: if options do not fit together.
            InputError: if a target exists, or has no folder.
            NotGeoreferenced: if GeoJSON is wanted of a raster that has no place.
        """
        if self.json and self.jsonl:
            raise UsageError("--json and --jsonl: wanted one of them")
        if self.json and len(rasters) > 1:
            raise UsageError(f"--json is one object, found {len(rasters)} rasters; wanted --jsonl")
        if self.out is not None and self.out.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--out {self.out}: wanted a name that ends with {', '.join(SUFFIXES)}")
        if self.out is not None and self.out.suffix.lower() in MASK_SUFFIXES and not masks:
            raise UsageError(f"--out {self.out}: this task makes no mask (write .gpkg, .geojson or .json)")
        if self.preview is not None and self.preview.suffix.lower() != ".png":
            raise UsageError(f"--preview {self.preview}: wanted a name that ends with .png")
        if self.report is not None and self.report.suffix.lower() != ".html":
            raise UsageError(f"--report {self.report}: wanted a name that ends with .html")
        if self.stac is not None and (self.stac.suffix.lower() != ".json" or self.stac == self.out):
            raise UsageError(f"--stac {self.stac}: wanted a name of its own that ends with .json")
        shared = [path for path in self.paths if STEM not in str(path) and path.suffix != ".jsonl"]
        if len(rasters) > 1 and shared:
            raise UsageError(
                f"{shared[0]}: one file for {len(rasters)} rasters; put {STEM} into its name, or write .jsonl"
            )
        filled = [path for raster in rasters for path in self.of(raster).paths]
        if len(rasters) > 1 and len({*filled}) < len(filled) and self.out and self.out.suffix != ".jsonl":
            raise UsageError(f"{self.out}: several rasters share a name, so {STEM} would name one file twice")
        for path in dict.fromkeys(filled):
            check_target(path, overwrite=self.overwrite)
        if self.out is not None and self.out.suffix.lower() == ".geojson" and len(rasters) == 1:
            with open_unstretched(rasters[0], None) as raster:
                require_lonlat(raster)


def deliver(work: Callable[[str], Report], rasters: Sequence[str], targets: Targets, *, masks: bool = False) -> None:
    """Run ``work`` on each raster and send its report where it belongs, as soon as it is there.

    Args:
        work: makes a raster's report.
        rasters: as the user named them.
        targets: where reports go.
        masks: whether the reports hold a mask.

    Raises:
        BatchError: if some of several rasters failed; the others are done.
        ReplyTruncated: if a reply ran out of budget; what there is of it has been written.
        RsvlmError: of the only raster, as it came.
    """
    targets.check(rasters, masks=masks)
    failed, truncated = 0, False
    done: list[Path] = []
    with ExitStack() as stack:
        lines = _open_lines(stack, targets)
        for raster in rasters:
            try:
                report = work(raster)
                write_files(report, targets.of(raster))
            except RsvlmError as error:
                if len(rasters) == 1:
                    raise
                failed += 1
                logger.error("%s", error)
                continue
            done += filter(None, [targets.journal(raster)])
            truncated |= report.truncated
            _tell_looks(report)
            for warning in report.warnings:
                logger.warning("%s", warning)
            if report.truncated and len(rasters) > 1:
                logger.warning("%s: a reply was cut by the token budget", raster)
            _print(report, targets, several=len(rasters) > 1)
            if lines:
                lines.write(dump(report_to_json(report)) + "\n")
    for journal in done:
        journal.unlink(missing_ok=True)
    if failed:
        raise BatchError(f"{failed} of {len(rasters)} rasters failed, the others are done")
    if truncated:
        raise ReplyTruncated("a reply was cut by the token budget; what there is of it is above (raise --max-tokens)")


def write_files(report: Report, targets: Targets) -> None:
    """Write a report to its files; a ``.jsonl`` grows elsewhere."""
    if targets.out is not None and targets.out.suffix != ".jsonl":
        write_file(targets.out, report, targets)
    for path in (targets.preview, targets.report):
        if path is not None:
            write_file(path, report, targets)
    if targets.stac is not None:
        files = [path for path in targets.paths if path != targets.stac and path.suffix != ".jsonl"]
        item = build_item(targets.stac, report, files, targets.command)
        write_text(targets.stac, dump(item, indent=1) + "\n", overwrite=targets.overwrite)
    if targets.show:
        _show(report, targets)


def write_file(path: Path, report: Report, targets: Targets) -> None:
    """Write a report as the file's suffix tells.

    Raises:
        InputError: if it cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix == ".txt":
        write_text(path, report_to_text(report), overwrite=targets.overwrite)
    elif suffix == ".json":
        write_text(path, dump(report_to_json(report), indent=1) + "\n", overwrite=targets.overwrite)
    elif suffix == ".geojson":
        collection = to_geojson(report_features(report), report.sources[0])
        write_text(path, dump(collection) + "\n", overwrite=targets.overwrite)
        write_style(path, style_qml(label_colours(report)), overwrite=targets.overwrite)
    elif suffix == ".gpkg":
        layer, colours = report.task.replace("-", "_"), label_colours(report)
        with replaced_file(path, overwrite=targets.overwrite) as part:
            write_geopackage(part, layer, report_features(report), report.sources[0], colours)
    elif suffix == ".html":
        page = build_page(report, read_pictures(report, targets, MAX_PAGE_SIDE_PX), targets.command)
        write_text(path, page, overwrite=targets.overwrite)
    elif suffix == ".png":
        with replaced_file(path, overwrite=targets.overwrite) as part:
            draw_overlay(report, read_pictures(report, targets)).save(part)
    else:
        mask = next(result for result in report.results if isinstance(result, Mask))
        provenance = {"task": report.task, "model": report.model[0], "model_sha256": report.model[1]}
        source = report.sources[0]
        # Without a georeference the pixel grid is the only place that a mask has.
        grid: Literal["cells", "pixels"] = "cells" if source.transform else "pixels"
        write_mask(path, mask, source, overwrite=targets.overwrite, grid=grid, provenance=provenance)
        write_style(path, style_qml(label_colours(report)), overwrite=targets.overwrite)
    logger.info("wrote %s", path)


def read_pictures(report: Report, targets: Targets, max_side_px: int = MAX_SIDE_PX) -> list[Picture]:
    """Read what lies under a report's results again, one picture a date, small enough to look at."""
    sources = report.sources
    area = sources[0].window_px
    shrink = max(1.0, max(area[2] - area[0], area[3] - area[1]) / max_side_px)
    size = (max(1, round((area[2] - area[0]) / shrink)), max(1, round((area[3] - area[1]) / shrink)))
    with ExitStack() as stack:
        rasters: Sequence[Raster]
        if len(sources) > 1:
            known = tuple(source.alignment for source in sources)
            unmatched = known[1] is not None and known[1].radiometry == "none"
            how = Comparison(
                bands=targets.bands,
                stretch=targets.stretch,
                dem=targets.dem,
                radiometry="none" if unmatched else "match",
                known=known,
            )
            rasters = stack.enter_context(open_dates([source.path for source in sources], how)).rasters
        else:
            as_seen = open_raster(sources[0].path, bands=targets.bands, stretch=targets.stretch, dem=targets.dem)
            rasters = [stack.enter_context(as_seen)]
        return [
            Picture(pixels=raster.read(area, size).pixels, area_px=area, title=Path(raster.path).name)
            for raster in rasters
        ]


def _open_lines(stack: ExitStack, targets: Targets) -> TextIO | None:
    """Open the ``.jsonl`` that all rasters share, if one is wanted."""
    if targets.out is None or targets.out.suffix.lower() != ".jsonl":
        return None
    part = stack.enter_context(replaced_file(targets.out, overwrite=targets.overwrite))
    return stack.enter_context(part.open("w", encoding="utf-8"))


def _tell_looks(report: Report) -> None:
    """Say what the model saw: to a person always, to a log where more is asked for."""
    if sys.stderr.isatty() and logger.isEnabledFor(logging.WARNING):
        sys.stderr.write(f"note: {looks_to_text(report)}\n")
    else:
        logger.info("%s", looks_to_text(report))


def _print(report: Report, targets: Targets, *, several: bool) -> None:
    if targets.json or targets.jsonl:
        sys.stdout.write(dump(report_to_json(report), indent=1 if targets.json else None) + "\n")
    else:
        text = report_to_text(report, with_name=several)
        if not text:
            logger.warning("%s: nothing found", report.sources[0].path)
        sys.stdout.write(text)
    sys.stdout.flush()


def _show(report: Report, targets: Targets) -> None:
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        logger.warning("--show draws on a terminal in colour; there is none (use --preview FILE)")
        return
    columns = min(shutil.get_terminal_size().columns, 100)
    sys.stderr.write(half_blocks(draw_small(report, read_pictures(report, targets)[-1], 4 * columns), columns))

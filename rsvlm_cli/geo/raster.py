"""An open raster and its windows as 8 bit RGB: the picture's half of the road.

Axes: C bands, H rows, W columns.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from rasterio.enums import MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from rsvlm_cli.errors import UsageError, WindowOutside
from rsvlm_cli.geo.bands import BandChoice, BandFacts, BandMode, choose_bands
from rsvlm_cli.geo.calibrate import Calibration, convert_values, find_calibration
from rsvlm_cli.geo.dates import Dated, find_date
from rsvlm_cli.geo.gdal import WINDOW_CACHE_BYTES, gdal_session, open_dataset
from rsvlm_cli.geo.locate import Location
from rsvlm_cli.geo.place import place_raster
from rsvlm_cli.geo.stretch import MID_TONE, Stretch, StretchRule, fit_stretch
from rsvlm_cli.results import Affine6, Alignment, BoxPx, Source

MAX_SIDE_PX = 4096
"""A read without a wanted size shrinks beyond this, so that no window fills the memory."""

SAMPLE_SIDE_PX = 1024
"""Statistics see at most this many columns and rows of the whole scene."""

STRIP_BYTES = 2**25
"""Stored bytes read at once: a third of GDAL's block cache, which so holds the row of blocks that two strips share."""

SLOW_PIXELS = 10**8
"""From here on a raster without overviews is worth a warning: each look at the whole reads all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A window as the model may see it.

    Attributes:
        pixels: ``(H, W, 3)`` uint8 RGB; mid tone where there is no data.
        valid: ``(H, W)`` bool, true where there is data.
        source: from where; its ``model_px`` is this chip's size until `with_model_px` says otherwise.
    """

    pixels: np.ndarray
    valid: np.ndarray
    source: Source


class Raster(AbstractContextManager["Raster"]):
    """An open raster with its band choice and its one stretch. Not for use by several threads at once.

    Attributes:
        path: as the user named it.
        width_px, height_px: size.
        crs, transform, gsd_m: as in `results.Source`; crs and transform are both None without a georeference.
        bands: the band choice.
        stretch: fixed for the whole scene.
        dtype: of the stored values.
        nodata: of the first chosen band, or None.
        dated: when it was taken.
        calibration: what makes reflectance of stored values, where that is known.
        stored: the file itself; ``dataset`` may be a view of it on another grid.
        placed_by: as `results.Source.placed_by`.
        alignment: of a later date on the grid of the first: how it was brought there.
        warnings: one line each, for the user.
    """

    def __init__(self, dataset: DatasetReader | WarpedVRT, path: str, bands: BandChoice, location: Location) -> None:
        self.dataset, self.path, self.bands = dataset, path, bands
        self.width_px: int = dataset.width
        self.height_px: int = dataset.height
        self.crs: str | None = location.crs
        self.transform: Affine6 | None = location.transform
        self.gsd_m: float | None = location.gsd_m
        self.dtype: str = dataset.dtypes[bands.indexes[0] - 1]
        self.nodata: float | None = dataset.nodatavals[bands.indexes[0] - 1]
        self.dated = Dated()
        self.calibration: Calibration | None = None
        self.stored: DatasetReader | WarpedVRT = dataset
        self.placed_by: str | None = location.placed_by
        self.alignment: Alignment | None = None
        self.warnings: tuple[str, ...] = bands.warnings + location.warnings
        self.stretch: Stretch = fit_stretch(StretchRule(kind="none"), [np.empty(0)] * len(bands.indexes), self.dtype)
        self._has_overviews = bool(dataset.overviews(bands.indexes[0]))
        if self.width_px * self.height_px > SLOW_PIXELS and not self._has_overviews:
            self.warnings += (
                f"{path}: large and without overviews, so reading is slow (build them once: gdaladdo -r average FILE)",
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.dataset.close()
        self.stored.close()

    def fit(self, rule: StretchRule, *others: "Raster") -> Self:
        """Fix the stretch by a look at the whole scene, and at others of the same type if given."""
        if self.bands.mode is BandMode.CMYK:
            kind = np.dtype(self.dtype)
            rule = StretchRule(kind="range", low=0.0, high=float(np.iinfo(kind).max) if kind.kind in "iu" else 1.0)
        if self.bands.mode is BandMode.PALETTE:
            return self
        samples = [np.empty(0)] * len(self.bands.indexes)
        if rule.kind == "percentiles" or (rule.kind == "auto" and self.dtype != "uint8"):
            scenes = [self._sample()]
            scenes += [convert_values(other._sample(), other.calibration, self.calibration) for other in others]
            samples = [np.concatenate(bands) for bands in zip(*scenes, strict=True)]
        n_bits = self.stored.tags(self.bands.indexes[0], ns="IMAGE_STRUCTURE").get("NBITS")
        if rule.kind == "reflectance":
            self.stretch = self._fit_reflectance(rule)
        else:
            self.stretch = fit_stretch(rule, samples, self.dtype, int(n_bits) if n_bits else None)
        if self.calibration is not None:
            self.stretch = replace(self.stretch, text=f"{self.stretch.text} ({self.calibration.text})")
        if self.stretch.text == "no valid pixels":
            self.warnings += (f"{self.path}: holds no valid pixel",)
        return self

    def take_stretch(self, other: "Raster") -> None:
        """Show values as another raster does, by what they mean where both say it, else by what is stored."""
        self.stretch = other.stretch
        mine, its = self.calibration, other.calibration
        if mine is not None and its is not None and not mine.same_law(its):
            low, high = (mine.to_stored(its.to_physical(ends)) for ends in (self.stretch.low, self.stretch.high))
            ranges = ", ".join(dict.fromkeys(f"{a:.6g}..{b:.6g}" for a, b in zip(low, high, strict=True)))
            self.stretch = Stretch(low=low, high=high, text=f"that of the first date: {ranges} ({mine.text})")

    def _fit_reflectance(self, rule: StretchRule) -> Stretch:
        if self.calibration is None:
            raise UsageError(
                f"{self.path}: the law from stored values to reflectance is not known "
                "(give stored values: --stretch LOW,HIGH)"
            )
        n = len(self.bands.indexes)
        low, high = (self.calibration.to_stored((end,) * n) for end in (rule.low, rule.high))
        return Stretch(low=low, high=high, text=f"fixed: reflectance {rule.low:g}..{rule.high:g}")

    def read(self, window_px: BoxPx | None = None, out_size: tuple[int, int] | None = None) -> Chip:
        """Read a window as RGB, from overviews where they exist, without holding more than the result in memory.

        Shrinking averages the valid pixels under each new one, enlarging is bilinear; palettes take the nearest pixel.

        Args:
            window_px: ``x1, y1, x2, y2``; widened to whole pixels and cut at the raster's edge; None is all of it.
            out_size: width and height of the result; None keeps the raster's resolution up to `MAX_SIDE_PX`.

        Raises:
            WindowOutside: if the window shares no pixel with the raster.
            RasterUnreadable: if GDAL cannot read it.
        """
        x1, y1, x2, y2 = clip_window(window_px, self)
        values, valid = self.read_values(window_px, out_size)
        height, width = valid.shape
        pixels = np.moveaxis(self._colour(values), 0, -1)
        pixels[~valid] = MID_TONE
        source = Source(
            path=self.path,
            width_px=self.width_px,
            height_px=self.height_px,
            window_px=(float(x1), float(y1), float(x2), float(y2)),
            crs=self.crs,
            transform=self.transform,
            gsd_m=self.gsd_m,
            placed_by=self.placed_by,
            model_px=(width, height),
            model_gsd_m=None,
            bands=self.bands.labels,
            bands_by=self.bands.by,
            stretch=self.stretch.text,
            valid_frac=float(valid.mean()),
            date=self.dated.date,
            date_by=self.dated.by,
            alignment=self.alignment,
        )
        return Chip(pixels=pixels, valid=valid, source=with_model_px(source, (width, height)))

    def read_values(
        self, window_px: BoxPx | None = None, out_size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the chosen bands as stored, ``(C, H, W)``, and where they hold data, ``(H, W)``; as `read` otherwise."""
        x1, y1, x2, y2 = clip_window(window_px, self)
        shrink = max(1.0, (x2 - x1) / MAX_SIDE_PX, (y2 - y1) / MAX_SIDE_PX)
        width, height = out_size or (max(1, round((x2 - x1) / shrink)), max(1, round((y2 - y1) / shrink)))
        if min(width, height) < 1:
            raise UsageError(f"a picture of {width} x {height} px: wanted at least 1 x 1")
        shrinks = width * height < (x2 - x1) * (y2 - y1)
        resampling = Resampling.average if shrinks else Resampling.bilinear
        if self.bands.mode is BandMode.PALETTE:
            resampling = Resampling.nearest
        return self._read(Window(x1, y1, x2 - x1, y2 - y1), (height, width), resampling)

    def _read(self, window: Window, shape: tuple[int, int], resampling: Resampling) -> tuple[np.ndarray, np.ndarray]:
        """Return values ``(C, H, W)`` and validity ``(H, W)``.

        GDAL goes over a window once a band and once a mask, decoding it anew each time, unless it fits the block cache.
        """
        rows = shape[0]
        stored = window.width * window.height * self.dataset.count * np.dtype(self.dtype).itemsize
        step = rows if self._has_overviews else max(1, int(rows * STRIP_BYTES / stored))
        height = window.height / rows
        parts = []
        for top in range(0, rows, step):
            n = min(step, rows - top)
            strip = Window(window.col_off, window.row_off + top * height, window.width, n * height)
            parts.append(self._read_strip(strip, (n, shape[1]), resampling))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([values for values, _ in parts], axis=1), np.concatenate([valid for _, valid in parts])

    def _read_strip(
        self, window: Window, shape: tuple[int, int], resampling: Resampling
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read at once. Valid means data in any chosen band, and none of them NaN or infinite."""
        indexes = list(self.bands.indexes)
        out_shape = (len(indexes), *shape)
        stored = window.width * window.height * self.dataset.count * np.dtype(self.dtype).itemsize
        with gdal_session(self.path, small=stored < WINDOW_CACHE_BYTES / 16):
            values = self.dataset.read(indexes, window=window, out_shape=out_shape, resampling=resampling)
            if all(self.dataset.mask_flag_enums[k - 1] == [MaskFlags.all_valid] for k in indexes):
                valid = np.ones(shape, bool)
            else:
                masks = self.dataset.read_masks(indexes, window=window, out_shape=out_shape, resampling=resampling)
                valid = (masks > 0).any(axis=0)  # an alpha of 1 counts: 16 bit alpha is often written as 0..255
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=0)
        return values, valid

    def _sample(self) -> list[np.ndarray]:
        """Return valid values of each chosen band from all over the scene, as float64, about a million at most."""
        width, height = self.width_px, self.height_px
        if width * height > SLOW_PIXELS and not self._has_overviews and min(width, height) > SAMPLE_SIDE_PX:
            # A coarse grid would decode every block of the file; a grid of small windows decodes few.
            n, side = 16, SAMPLE_SIDE_PX // 16
            steps = [(round((width - side) * i / (n - 1)), round((height - side) * j / (n - 1)))
                     for j in range(n) for i in range(n)]  # fmt: skip
            parts = [self._read_strip(Window(x, y, side, side), (side, side), Resampling.nearest) for x, y in steps]
            if any(valid.any() for _, valid in parts):
                return [
                    np.concatenate([values[k][valid] for values, valid in parts]).astype(np.float64)
                    for k in range(len(self.bands.indexes))
                ]
        # Nearest, not average: averages would narrow the percentiles.
        shape = (min(height, SAMPLE_SIDE_PX), min(width, SAMPLE_SIDE_PX))
        values, valid = self._read(Window(0, 0, width, height), shape, Resampling.nearest)
        return [band[valid].astype(np.float64) for band in values]

    def _colour(self, values: np.ndarray) -> np.ndarray:
        """Return ``(3, H, W)`` uint8 RGB."""
        if self.bands.mode is BandMode.PALETTE:
            table = np.zeros((max(256, int(values.max(initial=0)) + 1), 3), np.uint8)
            with gdal_session(self.path):
                for index, colour in self.dataset.colormap(self.bands.indexes[0]).items():
                    if index < len(table):
                        table[index] = colour[:3]
            return np.stack([table[:, k][values[0].astype(np.int64)] for k in range(3)])
        pixels = self.stretch.apply(values)
        if self.bands.mode is BandMode.CMYK:
            light = 255 - pixels.astype(np.uint16)
            pixels = np.asarray((light[:3] * light[3] + 127) // 255, np.uint8)
        if self.stored.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
            pixels = 255 - pixels
        return np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels


@contextmanager
def open_raster(
    path: str | Path, *, bands: str | None = None, stretch: str = "auto", dem: str | None = None
) -> Iterator[Raster]:
    """Open a raster, choose its bands and fix its stretch.

    Args:
        path: a local file of any format of `gdal.DRIVERS`, or GDAL's name of one inside another.
        bands: as `bands.choose_bands`.
        stretch: as `stretch.StretchRule.parse`.
        dem: as `place.place_raster`.

    Raises:
        UsageError: if ``bands`` or ``stretch`` is malformed.
        BandsMissing: if a band that was asked for is not there.
        RasterUnreadable: if the file is missing, broken, complex or too large to be read honestly.
        InputError: as `place.place_raster`.
    """
    rule = StretchRule.parse(stretch)
    with open_unstretched(path, bands, dem) as raster:
        yield raster.fit(rule)


def open_unstretched(path: str | Path, bands: str | None, dem: str | None = None) -> Raster:
    """Open a raster whose stretch is not fixed yet; errors as `open_raster`."""
    dataset = open_dataset(path)
    name = str(path)
    try:
        with gdal_session(path):
            choice = choose_bands(band_facts(dataset, name), bands)
            view, location = place_raster(dataset, name, choice, dem)
            raster = Raster(view, name, choice, location)
            raster.stored = dataset
            raster.calibration = find_calibration(dataset, name, choice.indexes)
            raster.dated = find_date(name, dataset.tags() | dataset.tags(ns="IMAGERY") | dataset.tags(ns="EXIF"))
            return raster
    except BaseException:
        dataset.close()
        raise


def band_facts(dataset: DatasetReader, path: str) -> BandFacts:
    """Collect what a file says about its bands."""
    return BandFacts(
        path=path,
        dtype=dataset.dtypes[0],
        colours=tuple(colour.name for colour in dataset.colorinterp),
        names=tuple(dataset.descriptions),
        tags=dataset.tags() | dataset.tags(ns="IMAGERY"),
    )


def clip_window(window_px: BoxPx | None, raster: Raster) -> tuple[int, int, int, int]:
    """Widen a window to whole pixels and cut it at the raster's edge.

    Raises:
        WindowOutside: if nothing is left.
    """
    width, height = raster.width_px, raster.height_px
    if window_px is None:
        return 0, 0, width, height
    if not np.isfinite(window_px).all():
        raise WindowOutside(f"{raster.path}: window {window_px} is no box (wanted x1,y1,x2,y2 in pixels)")
    x1, y1 = max(0, int(np.floor(window_px[0]))), max(0, int(np.floor(window_px[1])))
    x2, y2 = min(width, int(np.ceil(window_px[2]))), min(height, int(np.ceil(window_px[3])))
    if x1 >= x2 or y1 >= y2:
        box = ",".join(f"{v:g}" for v in window_px)
        raise WindowOutside(f"{raster.path}: window {box} lies outside the raster of {width} x {height} px")
    return x1, y1, x2, y2


def with_model_px(source: Source, model_px: tuple[int, int]) -> Source:
    """Return the source with the size of the picture that the model sees, and the ground size of its pixels."""
    x1, y1, x2, y2 = source.window_px
    shrink = ((x2 - x1) * (y2 - y1) / (model_px[0] * model_px[1])) ** 0.5
    return replace(source, model_px=model_px, model_gsd_m=None if source.gsd_m is None else source.gsd_m * shrink)

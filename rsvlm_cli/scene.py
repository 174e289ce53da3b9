"""One raster, or one place at two dates, before a model; and a window of it, encoded once and asked many times."""

import math
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache

import numpy as np

from rsvlm_cli.errors import InputError, UsageError
from rsvlm_cli.geo.align import Comparison, open_dates
from rsvlm_cli.geo.aoi import choose_part
from rsvlm_cli.geo.glance import holds_data
from rsvlm_cli.geo.raster import Chip, Raster
from rsvlm_cli.results import BoxPx, Exchange, Report, Result
from rsvlm_cli.runtime.bundle import Bundle, find_bundle, read_bundle
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.runtime.features import ImageFeatures, Spot
from rsvlm_cli.runtime.sampling import Sampling
from rsvlm_cli.runtime.symmetry import ORDER, turn, turn_back
from rsvlm_cli.settings import Device, Origin, Settings
from rsvlm_cli.tally import Tally
from rsvlm_cli.tasks.cells import cells_set
from rsvlm_cli.tasks.dialect import Dialect, MaskStyle
from rsvlm_cli.tasks.exchange import Reply, Request

Progress = Callable[[int, int], None]

MIN_VALID_FRAC = 0.01
"""A window with less data than this is not shown to the model."""
CHOICES_KEPT = 30  # of many, the likeliest
TRANSCRIPT_LENGTH = 50
"""Prompts and replies that a report keeps: all of a question, and of a scene of many windows enough to judge."""


@lru_cache(maxsize=1)
def open_engine(model: str, device: Device, threads: int | None) -> Engine:
    """Open a model; a process holds one."""
    return Engine(read_bundle(find_bundle(model)), device=device, threads=threads)


class View:
    """One window of a scene, encoded.

    Attributes:
        window_px: what it shows.
        chips: one picture a date.
        features: what the decoder sees of them.
    """

    def __init__(self, scene: "Scene", chips: Sequence[Chip], features: ImageFeatures, n_symmetries: int = 1) -> None:
        self.scene, self.chips, self.features, self.n_symmetries = scene, chips, features, n_symmetries
        self.window_px: BoxPx = chips[0].source.window_px

    def generate(self, request: Request, on_text: Callable[[str], None] | None = None) -> Reply:
        """Decode the reply to a request."""
        settings = self.scene.settings
        sampling = Sampling(temperature=settings.temperature, seed=settings.seed)
        with self.scene.timed("decode"):
            reply = self.scene.engine.generate(
                self.features,
                request.prompt,
                request.expert,
                grammar=request.grammar,
                sampling=Sampling() if request.grammar else sampling,
                max_new_tokens=settings.max_tokens or request.max_new_tokens,
                on_text=on_text,
            )
        cut = reply.finish == "length"
        self.scene.truncated |= cut
        self.scene.note(
            Exchange(window_px=self.window_px, prompt=request.prompt, reply=reply.text.strip(), truncated=cut)
        )
        return reply

    def score(self, request: Request) -> Sequence[float]:
        """Return the log-likelihood of each candidate of a request."""
        with self.scene.timed("decode"):
            looks = [
                self.scene.engine.score(features, request.prompt, request.expert, request.candidates)
                for features in self._looks(request)
            ]
        scores: list[float] = (np.logaddexp.reduce(looks, axis=0) - math.log(len(looks))).tolist()
        self._note(request, request.candidates, scores)
        return scores

    def weigh(self, request: Request) -> np.ndarray:
        """Return the share of each choice of a request, ``(n,)``; each is one token, and the whole reply."""
        looks = [self._read(features, request, (), request.choices, 1) for features in self._looks(request)]
        shares: np.ndarray = np.mean(looks, axis=(0, 1))
        self._note(request, request.choices, np.log(shares.clip(1e-9)).tolist())
        return shares

    def _note(self, request: Request, texts: Sequence[str], logprobs: Sequence[float]) -> None:
        likeliest = sorted(range(len(texts)), key=lambda k: -logprobs[k])
        choices = tuple((texts[k], round(logprobs[k], 4)) for k in sorted(likeliest[:CHOICES_KEPT]))
        said = Exchange(window_px=self.window_px, prompt=request.prompt, reply=texts[likeliest[0]], choices=choices)
        self.scene.note(said)

    def read(self, request: Request, spots: Sequence[Spot], choices: Sequence[str], n: int) -> np.ndarray:
        """Read the last ``n`` spots, upright alone; as `Engine.read`."""
        return self._read(self.features, request, spots, choices, n)

    def read_cells(self, request: Request, spots: Sequence[Spot]) -> np.ndarray:
        """Read every visual token, in all symmetries; return ``(G, G)`` float32, the probability that a cell is set."""
        shares = []
        for symmetry, features in self._turned(request).items():
            p_block = self._read(features, request, spots, request.choices, len(spots))
            shares.append(turn_back(cells_set(p_block), symmetry))
        # Upright comes last: the decoder's cache then holds what a box is read after.
        shares.append(cells_set(self.read(request, spots, request.choices, len(spots))))
        p_cell: np.ndarray = np.mean(shares, axis=0)
        return p_cell

    @cached_property
    def turned(self) -> dict[int, ImageFeatures]:
        """The pictures in further symmetries, by number; encoded when first asked, for what is decoded needs none."""
        return {symmetry: self.scene.encode(self.chips, symmetry) for symmetry in ORDER[1 : self.n_symmetries]}

    def _turned(self, request: Request) -> dict[int, ImageFeatures]:
        return {} if request.upright else self.turned

    def _looks(self, request: Request) -> tuple[ImageFeatures, ...]:
        return (self.features, *self._turned(request).values())

    def _read(
        self, features: ImageFeatures, request: Request, spots: Sequence[Spot], choices: Sequence[str], n: int
    ) -> np.ndarray:
        with self.scene.timed("decode"):
            return self.scene.engine.read(features, request.prompt, request.expert, spots, choices, n)

    def beside(self, closer: "View") -> "View":
        """Return both as the pictures of one prompt; its window is this one's."""
        return View(self.scene, [*self.chips, *closer.chips], self.features.join(closer.features))

    def box_px(self, box_frac: BoxPx) -> BoxPx:
        """Carry a box from the model's frame to the raster's pixels, to a thousandth."""
        x1, y1, x2, y2 = self.window_px
        fx1, fy1, fx2, fy2 = box_frac
        width, height = x2 - x1, y2 - y1
        corners = (x1 + fx1 * width, y1 + fy1 * height, x1 + fx2 * width, y1 + fy2 * height)
        return tuple(round(v, 3) for v in corners)  # type: ignore[return-value]

    def box_frac(self, box_px: BoxPx) -> BoxPx:
        """Carry a box from the raster's pixels to the model's frame; the inverse of `box_px`."""
        x1, y1, x2, y2 = self.window_px
        return tuple(
            (v - low) / side for v, low, side in zip(box_px, (x1, y1) * 2, (x2 - x1, y2 - y1) * 2, strict=True)
        )  # type: ignore[return-value]


class Scene:
    """One raster, or one place at two dates, and the model that looks at it.

    Attributes:
        window_px: the part that is looked at.
        closer: what `rsvlm_cli.zoom` was shown of windows, each in a number of symmetries, for the next question.
        truncated: whether any reply so far ran out of budget.
        warnings: one line each, for the user.
        transcript: the first prompts and replies.
        n_asked: how many there were.
    """

    def __init__(self, origin: Origin, rasters: Sequence[Raster], window_px: BoxPx, warnings: Sequence[str]) -> None:
        self.origin, self.rasters, self.settings = origin, rasters, origin.settings
        self.aoi, self.window_px = choose_part(rasters[0], window_px, self.settings.window, self.settings.aoi)
        self.warnings, self.truncated = list(warnings), False
        self.transcript: list[Exchange] = []
        self.n_asked = 0
        settings = origin.settings
        self.seconds: defaultdict[str, float] = defaultdict(float)
        with self.timed("open model"):
            self.engine = open_engine(settings.model, settings.device, settings.threads)
        self.bundle: Bundle = self.engine.bundle
        self.quality = self.bundle.manifest.quality or {}
        self.tta = settings.tta or self.bundle.manifest.image.tta
        self.dialect = Dialect.from_json(dict(self.bundle.manifest.dialect))
        self.tally = Tally()
        self.closer: OrderedDict[tuple[BoxPx, int], View | None] = OrderedDict()

    @property
    def model_side_px(self) -> int:
        """Side of the picture that the model sees."""
        return self.bundle.manifest.image.size[0]

    @property
    def mask_grid(self) -> int:
        """Cells on each side of a window's mask: as it is written, or two for each visual token that is read."""
        if self.dialect.mask_style is not MaskStyle.CELLS:
            return self.dialect.mask_grid
        # The last vector of a picture is its newline.
        return 2 * math.isqrt(self.bundle.manifest.image.tokens - 1)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall time of a block to a stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start

    def note(self, *exchanges: Exchange, n_asked: int = 1) -> None:
        """Keep prompts and their replies for the report, as long as there is room; ``n_asked`` counts them all."""
        self.n_asked += n_asked
        self.transcript += exchanges[: TRANSCRIPT_LENGTH - len(self.transcript)]

    def look(self) -> View:
        """Read the whole window and encode it.

        Raises:
            InputError: if it holds next to no data.
        """
        valid_fracs, view = self.look_at(self.window_px)
        x1, y1, x2, y2 = self.window_px
        self.tally.add((x2 - x1, y2 - y1), valid_fracs, shown=view is not None)
        self.require_seen()
        assert view is not None
        return view

    def look_at(self, window_px: BoxPx) -> tuple[tuple[float, ...], View | None]:
        """Read a window and encode it, unless a date has next to no data there.

        Returns:
            The share of it that holds data, of each date, and the view or None.
        """
        with self.timed("read"):
            if not all(holds_data(raster, window_px) for raster in self.rasters):
                return (0.0,) * len(self.rasters), None
            chips = [raster.read(window_px) for raster in self.rasters]
        valid_fracs = tuple(chip.source.valid_frac for chip in chips)
        return valid_fracs, self.show(chips)

    def look_closer(self, window_px: BoxPx, side_px: int, n_symmetries: int | None = None) -> View | None:
        """Read a part at up to ``side_px`` a side and encode it; the report's sources remain the whole window."""
        x1, y1, x2, y2 = window_px
        shrink = max(1.0, max(x2 - x1, y2 - y1) / side_px)
        size = (max(1, round((x2 - x1) / shrink)), max(1, round((y2 - y1) / shrink)))
        with self.timed("read"):
            chips = [raster.read(window_px, size) for raster in self.rasters]
        return self.show(chips, n_symmetries)

    def show(self, chips: Sequence[Chip], n_symmetries: int | None = None) -> View | None:
        """Encode one window's pictures, one a date, in the scene's symmetries or the first ``n_symmetries``.

        Returns:
            The view, or None where a date has next to no data there.
        """
        if min(chip.source.valid_frac for chip in chips) < MIN_VALID_FRAC:
            return None
        return View(self, chips, self.encode(chips, 0), n_symmetries or self.tta)

    def encode(self, chips: Sequence[Chip], symmetry: int) -> ImageFeatures:
        """Encode pictures, turned."""
        with self.timed("encode"):
            return self.engine.encode_images([turn(chip.pixels, symmetry) for chip in chips])

    def require_seen(self) -> None:
        """Refuse to answer for a scene of which no window was shown to the model.

        Raises:
            InputError: if every window held next to no data.
        """
        if not self.tally.n_shown:
            raise InputError(f"{self.rasters[0].path}: the window holds no data (choose another: --window X1,Y1,X2,Y2)")

    def report(self, task: str, results: Sequence[Result]) -> Report:
        """Put results into their report."""
        looks = self.tally.looks(self.bundle.manifest.image.size, self.rasters[0].gsd_m)
        sources = self.tally.sources(self.rasters, self.window_px, looks)
        warnings = list(self.warnings)
        if sources[0].valid_frac < 0.5:
            warnings.append(f"{sources[0].path}: {1 - sources[0].valid_frac:.0%} of the window holds no data")
        name = self.bundle.manifest.name
        if task in self.quality.get("not_learnt", ()):
            warnings.append(
                f"{name} has not learnt {task}: its scores are no better than not looking (rsvlm models show {name})"
            )
        return Report(
            task=task,
            model=(self.bundle.manifest.name, self.bundle.sha256),
            sources=sources,
            results=tuple(results),
            looks=looks,
            truncated=self.truncated,
            warnings=tuple(dict.fromkeys(warnings)),
            seconds={stage: round(seconds, 4) for stage, seconds in self.seconds.items()},
            transcript=tuple(self.transcript),
            n_asked=self.n_asked,
        )

    def trained_gsd_m(self, kind: str, labels: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return, of the labels that the bundle says it of, the ground size of a model pixel in training, metres."""
        entries = (self.bundle.manifest.classes or {}).get(kind, ())
        known = {entry["label"]: entry["gsd_m"] for entry in entries if isinstance(entry, dict) and entry.get("gsd_m")}
        return {label: (float(known[label][0]), float(known[label][1])) for label in labels if label in known}

    def taught(self, kind: str, asked: Sequence[str]) -> tuple[str, ...]:
        """Return the labels asked for, with a warning of any the model was not taught, or else all that it was taught.

        Raises:
            UsageError: if none were asked for and the bundle names none.
        """
        entries = (self.bundle.manifest.classes or {}).get(kind, ())
        known = tuple(entry["label"] if isinstance(entry, dict) else str(entry) for entry in entries)
        name = self.bundle.manifest.name
        if not asked and not known:
            raise UsageError(f"{name} names no classes of its own for this task; name some (--classes ship,plane)")
        strange = [label for label in asked if known and label not in known]
        if strange:
            self.warnings.append(f"{name} was not taught {', '.join(strange)} for this (it was: {', '.join(known)})")
        return tuple(asked) or known


@contextmanager
def open_scene(paths: Sequence[str], settings: Settings) -> Iterator[Scene]:
    """Open one raster, or two dates of one place on the grid of the first; errors as `open_scenes`."""
    with open_scenes(paths, settings) as scenes:
        yield scenes[0]


@contextmanager
def open_scenes(paths: Sequence[str], settings: Settings) -> Iterator[list[Scene]]:
    """Open dates of one place on the grid of the first: a scene for each two in a row, or of the only one.

    Raises:
        InputError: as `geo.align.open_dates` and `geo.region.parse_region`.
        BundleError: if the model cannot be used.
    """
    start = time.perf_counter()
    how = Comparison(
        bands=settings.bands, stretch=settings.stretch, dem=settings.dem, dates=settings.dates,
        coregister=settings.coregister, radiometry=settings.radiometry,
    )  # fmt: skip
    with open_dates(paths, how) as dates:
        seconds = time.perf_counter() - start
        scenes = [
            Scene(Origin(tuple(paths), settings, i), dates.rasters[i : j + 1], dates.overlap_px(i, j), dates.warnings)
            for i, j in [(k, k + 1) for k in range(len(paths) - 1)] or [(0, 0)]
        ]
        scenes[0].seconds["open raster"] = seconds
        yield scenes


@contextmanager
def open_origin(origin: Origin) -> Iterator[Scene]:
    """Open a scene again, as it was opened; errors as `open_scenes`."""
    with open_scenes(origin.paths, origin.settings) as scenes:
        yield scenes[origin.which]

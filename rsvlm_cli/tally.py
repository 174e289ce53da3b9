"""What the model was shown of a scene, counted for its report."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from rsvlm_cli.geo.raster import Raster
from rsvlm_cli.results import BoxPx, Looks, Source


def add_looks(looks: Iterable[Looks]) -> tuple[Looks, ...]:
    """Add the windows of several scenes, by size, the widest first."""
    found: dict[tuple[float, float], Looks] = {}
    for look in looks:
        before = found.get(look.window_px)
        found[look.window_px] = replace(look, n_windows=look.n_windows + (before.n_windows if before else 0))
    return tuple(found[size_px] for size_px in sorted(found, reverse=True))


class Tally:
    """Counts windows.

    Attributes:
        n_shown: windows that held enough data to be shown to the model.
    """

    def __init__(self) -> None:
        self._valid_frac: np.ndarray | None = None
        self._n_seen = 0
        self._shown: Counter[tuple[float, float]] = Counter()

    @property
    def n_shown(self) -> int:
        """Windows that held enough data to be shown to the model."""
        return self._shown.total()

    def add(self, size_px: tuple[float, float], valid_fracs: Sequence[float], *, shown: bool) -> None:
        """Count a window.

        Args:
            size_px: its width and height in the raster's pixels.
            valid_fracs: share of it that holds data, of each date.
            shown: whether the model saw it.
        """
        here = np.asarray(valid_fracs)
        self._valid_frac = here if self._valid_frac is None else self._valid_frac + here
        self._n_seen += 1
        self._shown[size_px] += shown

    def looks(self, model_px: tuple[int, int], gsd_m: float | None) -> tuple[Looks, ...]:
        """Return the windows that were shown, by size, the widest first."""
        return tuple(
            Looks(
                n_windows=n,
                window_px=size_px,
                model_px=model_px,
                model_gsd_m=None if gsd_m is None else gsd_m * math.sqrt(math.prod(size_px) / math.prod(model_px)),
            )
            for size_px, n in sorted(self._shown.items(), reverse=True)
        )

    def sources(self, rasters: Sequence[Raster], window_px: BoxPx, looks: Sequence[Looks]) -> tuple[Source, ...]:
        """Return one source a raster: the part asked for, at the ground sampling distance of the first look."""
        assert self._valid_frac is not None
        x, y = window_px[:2]
        return tuple(
            replace(
                raster.read((x, y, x + 1, y + 1)).source,
                window_px=window_px,
                valid_frac=float(total / self._n_seen),
                model_px=looks[0].model_px,
                model_gsd_m=looks[0].model_gsd_m,
            )
            for raster, total in zip(rasters, self._valid_frac, strict=True)
        )

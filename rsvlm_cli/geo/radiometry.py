"""The light of one date brought to that of another: a robust linear law for each band, from ground that both hold.

What both dates show of a place is compared by deciles, so that a shift of a pixel or two does not flatten the law as it
does a plain regression. The line through them is the median of all slopes (Theil and Sen); what lies far from it, the
changed ground, is left out and the line drawn again. Up to a fifth of the ground may have changed.

Axes: C bands, N sampled pixels.
"""

from dataclasses import dataclass

import numpy as np

from rsvlm_cli.geo.bands import BandMode
from rsvlm_cli.geo.raster import Raster
from rsvlm_cli.geo.stretch import Stretch
from rsvlm_cli.results import BoxPx

SAMPLE_SIDE_PX = 512
MIN_PIXELS = 256
MIN_CORRELATION = 0.3
"""Below, the two dates have so little in common that a law between them would be made up."""

ALIKE_GREYS = 3.0
"""Laws that move no grey level by more are left as they are."""

MAX_GAIN = 8.0
REJECT_SPREADS = 3.0
DECILES = np.arange(5, 100, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """How one date's light was brought to another's.

    Attributes:
        stretch: the later date's new law, or None to keep its own.
        text: as `results.Alignment.radiometry`.
    """

    stretch: Stretch | None
    text: str


def match_radiometry(a: Raster, b: Raster, area_px: BoxPx) -> Matched:
    """Find the stretch of B under which unchanged ground looks as it does in A.

    Args:
        a: the first date, its stretch fixed.
        b: the later one on the same grid, its own stretch fixed.
        area_px: what both cover.
    """
    if a.bands.mode is not b.bands.mode or a.bands.mode in (BandMode.PALETTE, BandMode.CMYK):
        return Matched(stretch=None, text="not matched: the dates show different kinds of bands")
    seen_a, seen_b = _sample(a, b, area_px)
    if seen_a.shape[1] < MIN_PIXELS:
        return Matched(stretch=None, text="not matched: too few pixels hold data in both dates")
    lows, highs, words = [], [], []
    alike = True
    for k, (values_a, values_b) in enumerate(zip(seen_a, seen_b, strict=True)):
        law = fit_linear(_greys(values_a, a.stretch, k), _greys(values_b, b.stretch, k))
        if law is None:
            return Matched(stretch=None, text="not matched: the dates have too little in common")
        gain, offset = law
        low, high = b.stretch.low[k], b.stretch.high[k]
        step = (high - low) / 255
        lows.append(low + step * (0 - offset) / gain)
        highs.append(low + step * (255 - offset) / gain)
        words.append(f"{b.bands.labels[k]} x {gain:.3g} {offset:+.3g}")
        alike &= max(abs(offset), abs(255 * gain + offset - 255)) < ALIKE_GREYS
    if alike:
        return Matched(stretch=None, text="alike")
    text = ", ".join(words)
    return Matched(
        stretch=Stretch(
            low=tuple(lows), high=tuple(highs), text=f"{b.stretch.text}; matched to the first date: {text}"
        ),
        text=f"robust linear, of grey levels: {text}",
    )


def fit_linear(a: np.ndarray, b: np.ndarray) -> tuple[float, float] | None:
    """Return gain and offset with ``a = gain b + offset`` on unchanged ground, or None where there is no such law.

    Args:
        a: ``(N,)`` values.
        b: those of the other date at the same places.
    """
    if a.std() == 0 or b.std() == 0 or np.corrcoef(a, b)[0, 1] < MIN_CORRELATION:
        return None
    keep = np.ones(len(a), bool)
    for _ in range(4):
        qa, qb = np.percentile(a[keep], DECILES), np.percentile(b[keep], DECILES)
        i, j = np.triu_indices(len(qb), 1)
        rise, run = qa[j] - qa[i], qb[j] - qb[i]
        if (run <= 0).all() or (rise <= 0).all():
            return None
        gain = float(np.median(rise[run > 0] / run[run > 0]))
        offset = float(np.median(qa - gain * qb))
        left = np.abs(a - gain * b - offset)
        keep = left <= REJECT_SPREADS * max(1.4826 * float(np.median(left[keep])), 1e-9 * float(np.ptp(a)))
        if gain <= 0 or keep.sum() < MIN_PIXELS:
            return None
    return (gain, offset) if 1 / MAX_GAIN <= gain <= MAX_GAIN else None


def _sample(a: Raster, b: Raster, area_px: BoxPx) -> tuple[np.ndarray, np.ndarray]:
    """Return stored values of both dates where both hold data, ``(C, N)`` float64 each."""
    shrink = max(1.0, max(area_px[2] - area_px[0], area_px[3] - area_px[1]) / SAMPLE_SIDE_PX)
    width, height = (max(1, round((area_px[k + 2] - area_px[k]) / shrink)) for k in (0, 1))
    (values_a, valid_a), (values_b, valid_b) = (raster.read_values(area_px, (width, height)) for raster in (a, b))
    both = valid_a & valid_b
    return values_a[:, both].astype(np.float64), values_b[:, both].astype(np.float64)


def _greys(values: np.ndarray, stretch: Stretch, k: int) -> np.ndarray:
    """Return grey levels by a band's law, not rounded and not clipped."""
    low, high = stretch.low[k], stretch.high[k]
    return np.full(values.shape, 128.0) if low == high else (values - low) / (high - low) * 255

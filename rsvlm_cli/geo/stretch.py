"""How stored values become 8 bit: one linear law for a whole scene, so that its windows and a pair of dates agree.

Axes: C bands, H rows, W columns, N sampled pixels. Values are as stored: a file's scale and offset are linear, so
percentiles do not need them, and a range the user gives is in stored units unless it says ``reflectance:``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsvlm_cli.errors import UsageError

MID_TONE = 128
"""What a pixel without data and a band of one constant value become: neither dark nor bright."""

AUTO_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A linear law for each band: ``low`` becomes 0, ``high`` becomes 255, what lies beyond is clipped.

    Attributes:
        low, high: one value a band.
        text: the form of `results.Source.stretch`.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    text: str

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Convert ``(C, H, W)`` values of any real type to uint8; what is not finite becomes the mid tone."""
        if values.dtype == np.uint8 and all(
            low == 0 and high == 255 for low, high in zip(self.low, self.high, strict=True)
        ):
            return values
        out = np.empty(values.shape, np.uint8)
        for band, low, high, target in zip(values, self.low, self.high, out, strict=True):
            if low == high:
                target[:] = MID_TONE
                continue
            # Halves, because high - low of extreme floats is beyond the largest float.
            x = np.clip(band.astype(np.float64), low, high) / 2 - low / 2
            x *= 255 / (high / 2 - low / 2)
            target[:] = np.nan_to_num(x, nan=MID_TONE).round()
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class StretchRule:
    """What the user asked: ``auto``, ``none``, ``percentiles``, ``range`` (stored values) or ``reflectance``."""

    kind: str
    low: float = 0.0
    high: float = 0.0

    @property
    def looks(self) -> bool:
        """Whether the law depends on the values."""
        return self.kind in ("auto", "percentiles")

    @classmethod
    def parse(cls, text: str) -> "StretchRule":
        """Read ``auto``, ``none``, ``minmax``, ``p2,98``, ``LOW,HIGH`` or ``reflectance:LOW,HIGH``.

        Raises:
            UsageError: if it is none of them.
        """
        word = text.strip().lower()
        if word in ("auto", "none"):
            return cls(kind=word)
        if word == "minmax":
            return cls(kind="percentiles", low=0.0, high=100.0)
        percentiles, reflectance = word.startswith("p"), word.startswith("reflectance:")
        try:
            low, high = (float(part) for part in word.removeprefix("p").removeprefix("reflectance:").split(","))
        except ValueError:
            low = high = 0.0
        if not (np.isfinite([low, high]).all() and low < high and (not percentiles or (low >= 0 and high <= 100))):
            raise UsageError(
                f"stretch {text!r}: wanted auto, none, minmax, percentiles such as p2,98, LOW,HIGH such as 0,3000, "
                "or reflectance:0,0.3"
            )
        return cls(kind="percentiles" if percentiles else "reflectance" if reflectance else "range", low=low, high=high)


def fit_stretch(rule: StretchRule, samples: Sequence[np.ndarray], dtype: str, n_bits: int | None = None) -> Stretch:
    """Fix the law of a scene, or of a pair of dates by the samples of both.

    Args:
        rule: what was asked; ``auto`` leaves 8 bit alone and takes the 2 and 98 % percentiles of everything else.
        samples: for each band the valid, finite values, ``(N,)`` each; only percentiles look at them.
        dtype: of the stored values.
        n_bits: where a file stores fewer bits than ``dtype`` has.
    """
    n = len(samples)
    if rule.kind == "range":
        return Stretch(low=(rule.low,) * n, high=(rule.high,) * n, text=f"fixed: {_range(rule.low, rule.high)}")
    if rule.kind == "none" or (rule.kind == "auto" and dtype == "uint8"):
        top = 2.0**n_bits - 1 if n_bits is not None and n_bits < 8 and rule.kind == "auto" else 255.0
        return Stretch(
            low=(0.0,) * n, high=(top,) * n, text=f"none ({dtype})" if top == 255 else f"{n_bits} bit: 0..{top:.0f}"
        )
    p_low, p_high = AUTO_PERCENTILES if rule.kind == "auto" else (rule.low, rule.high)
    pairs = [_percentiles(values, p_low, p_high) for values in samples]
    if all(pair is None for pair in pairs):
        return Stretch(low=(0.0,) * n, high=(0.0,) * n, text="no valid pixels")
    known = [pair or (0.0, 0.0) for pair in pairs]
    law = "minimum to maximum" if (p_low, p_high) == (0, 100) else f"{p_low:g}-{p_high:g} %"
    ranges = ", ".join(dict.fromkeys(_range(low, high) for low, high in known))
    return Stretch(
        low=tuple(low for low, _ in known),
        high=tuple(high for _, high in known),
        text=f"{law} of valid pixels: {ranges}",
    )


def _percentiles(values: np.ndarray, p_low: float, p_high: float) -> tuple[float, float] | None:
    if values.size == 0:
        return None
    low, high = np.percentile(values, [p_low, p_high], method="nearest")
    if low == high:  # almost constant: what little there is to see lies outside
        low, high = values.min(), values.max()
    return float(low), float(high)


def _range(low: float, high: float) -> str:
    return f"{low:.6g}..{high:.6g}"

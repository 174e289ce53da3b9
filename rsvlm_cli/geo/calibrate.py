"""What makes a physical value, mostly reflectance, of a stored one: ``scale * stored + offset`` for each band.

It is taken from the file where it says so, else from a name or a tag that fixes it: Landsat Collection 2, PlanetScope
surface reflectance, and the processing baseline of Sentinel-2. Nothing is taken from values: whether an export of
Sentinel-2 was freed of its offset cannot be seen in them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rasterio.io import DatasetReader

from rsvlm_cli.geo.products import OFFSET_BASELINE, parse_baseline

LANDSAT = r"L[COTE]0[4-9]_L2S[PR]_.*_02_T[12]"
PLANET = r"AnalyticMS_SR|analytic_[48]b_sr"
SENTINEL2 = r"S2[ABCD]_MSIL(?:1C|2A)_.*_N(\d{4})_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The law of the chosen bands.

    Attributes:
        scale: one a band, positive.
        offset: one a band.
        by: who says so.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    by: str

    @property
    def text(self) -> str:
        """The law in words."""
        laws = dict.fromkeys(zip(self.scale, self.offset, strict=True))
        words = (f"value * {s:g}" + (f" {'-' if o < 0 else '+'} {abs(o):g}" if o else "") for s, o in laws)
        return f"{', '.join(words)}: {self.by}"

    def to_stored(self, physical: Sequence[float]) -> tuple[float, ...]:
        """Return the stored value of one physical value a band."""
        return tuple((v - o) / s for v, s, o in zip(physical, self.scale, self.offset, strict=True))

    def to_physical(self, stored: Sequence[float]) -> tuple[float, ...]:
        """Return the physical value of one stored value a band; the inverse of `to_stored`."""
        return tuple(s * v + o for v, s, o in zip(stored, self.scale, self.offset, strict=True))

    def same_law(self, other: "Calibration") -> bool:
        """Say whether stored values mean the same."""
        return (self.scale, self.offset) == (other.scale, other.offset)


def convert_values(samples: list[np.ndarray], of: Calibration | None, to: Calibration | None) -> list[np.ndarray]:
    """Return stored values of one raster as another would store them; as they are where not both say what they mean."""
    if of is None or to is None or of.same_law(to):
        return samples
    laws = zip(samples, of.scale, of.offset, to.scale, to.offset, strict=True)
    return [(s1 * band + o1 - o2) / s2 for band, s1, o1, s2, o2 in laws]


def find_calibration(dataset: DatasetReader, path: str, indexes: Sequence[int]) -> Calibration | None:
    """Find the law of the bands ``indexes`` (from 1), or None where nothing says it."""
    n = len(indexes)
    scale = tuple(float(dataset.scales[k - 1]) for k in indexes)
    offset = tuple(float(dataset.offsets[k - 1]) for k in indexes)
    usable = bool(np.isfinite([*scale, *offset]).all()) and min(scale) > 0
    if usable and (scale, offset) != ((1.0,) * n, (0.0,) * n):
        baseline = dataset.tags().get("PROCESSING_BASELINE")
        return Calibration(scale=scale, offset=offset, by=f"baseline {baseline}" if baseline else "the file")
    if dataset.dtypes[indexes[0] - 1] not in ("uint16", "int16"):
        return None
    text = "\n".join([path, *(value for value in dataset.tags().values() if len(value) < 300)])
    if re.search(LANDSAT, text):
        return Calibration(scale=(2.75e-5,) * n, offset=(-0.2,) * n, by="Landsat Collection 2 Level 2")
    if re.search(PLANET, text, re.IGNORECASE):
        return Calibration(scale=(1e-4,) * n, offset=(0.0,) * n, by="PlanetScope surface reflectance")
    match = re.search(SENTINEL2, text)
    if match:
        offset_s2 = -0.1 if parse_baseline(match[1]) >= OFFSET_BASELINE else 0.0
        baseline = f"{match[1][:2]}.{match[1][2:]}"
        return Calibration(scale=(1e-4,) * n, offset=(offset_s2,) * n, by=f"baseline {baseline} in its name")
    return None

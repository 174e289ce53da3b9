"""Where a drone's photograph lies, from what the camera wrote into it: near enough to find the place, no survey.

Height and lens give the size of a pixel; with position and heading the photograph has a place on the map.
The camera must look straight down. The sensor is taken for a 24 x 36 mm one with the lens of equal angle of view
(``FocalLengthIn35mmFilm``, by the diagonal), the ground for flat at the height of take-off.

Source: DJI's XMP names (``drone-dji:RelativeAltitude``, ``GimbalYawDegree``, ``GimbalPitchDegree``, ``GpsLatitude``).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rasterio.io import DatasetReader
from rasterio.warp import transform as warp_points

from rsvlm_cli.geo.georef import LONLAT
from rsvlm_cli.geo.srs import utm_zone
from rsvlm_cli.results import Affine6

DIAGONAL_35MM = float(np.hypot(24, 36))
MAX_TILT_DEG = 15.0
"""Further from straight down, one pixel size for the whole photograph would mislead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """What is known of the place of a drone's photograph.

    Attributes:
        gsd_m: ground size of a pixel in metres, to about a tenth of it, or None.
        crs, transform: as in `results.Source`, to some metres; both None where the camera does not say enough.
        text: how that was found, or what is missing.
    """

    gsd_m: float | None = None
    crs: str | None = None
    transform: Affine6 | None = None
    text: str


def locate_photograph(dataset: DatasetReader) -> Photograph | None:
    """Return what a drone's photograph says of its place; None of any other picture."""
    facts = read_facts(dataset)
    if "altitude_m" not in facts:
        return None
    if "focal_mm" not in facts:
        return Photograph(text="is a drone's photograph that does not say focal_mm")
    if facts["altitude_m"] <= 0 or facts["focal_mm"] <= 0:
        return Photograph(text=f"is a drone's photograph from {facts['altitude_m']:g} m above take-off")
    if abs(facts.get("pitch_deg", -90.0) + 90) > MAX_TILT_DEG:
        tilt = f"camera at {facts['pitch_deg']:.0f} degrees, straight down is -90"
        return Photograph(text=f"is a drone's oblique photograph ({tilt})")
    gsd_m = facts["altitude_m"] * DIAGONAL_35MM / facts["focal_mm"] / float(np.hypot(dataset.width, dataset.height))
    size = f"pixels of about {gsd_m:.2g} m, from {facts['altitude_m']:.0f} m above take-off"
    missing = [name for name in ("lat", "lon", "yaw_deg") if name not in facts]
    if missing:
        return Photograph(gsd_m=gsd_m, text=f"has {size}, by the drone, which does not say {', '.join(missing)}")
    crs = utm_zone(facts["lon"], facts["lat"])
    (x,), (y,) = warp_points(LONLAT, crs, [facts["lon"]], [facts["lat"]])
    heading = f"{facts['yaw_deg'] % 360:.0f} degrees"
    yaw = np.radians(facts["yaw_deg"])  # clockwise from north, of the photograph's upper edge
    a, b, d, e = (float(gsd_m * v) for v in (np.cos(yaw), -np.sin(yaw), -np.sin(yaw), -np.cos(yaw)))
    middle = (dataset.width / 2, dataset.height / 2)
    return Photograph(
        gsd_m=gsd_m,
        crs=f"EPSG:{crs.to_epsg()}",
        transform=(a, b, x - a * middle[0] - b * middle[1], d, e, y - d * middle[0] - e * middle[1]),
        text=f"placed to some metres by the drone's position and heading ({heading}); {size}",
    )


def read_facts(dataset: DatasetReader) -> dict[str, float]:
    """Return what the camera says: ``lat, lon`` in degrees, ``altitude_m``, ``yaw_deg, pitch_deg``, ``focal_mm``."""
    tags = dataset.tags()
    xmp = "\n".join(dataset.tags(ns="xml:XMP").values()) if "xml:XMP" in dataset.tag_namespaces() else ""
    facts: dict[str, float] = {}
    for name, words in {
        "altitude_m": "RelativeAltitude", "yaw_deg": "GimbalYawDegree", "pitch_deg": "GimbalPitchDegree",
        "lat": "GpsLatitude", "lon": "GpsLongt?itude",
    }.items():  # fmt: skip
        match = re.search(rf"drone-dji:{words}(?:=\"|>)\s*([-+]?[\d.]+)", xmp)
        if match:
            facts[name] = float(match[1])
    for name, key in (("lat", "EXIF_GPSLatitude"), ("lon", "EXIF_GPSLongitude")):
        degrees = _degrees(tags, key)
        if degrees is not None:
            facts.setdefault(name, degrees)
    focal = re.search(r"[\d.]+", tags.get("EXIF_FocalLengthIn35mmFilm", ""))
    if focal:
        facts["focal_mm"] = float(focal[0])
    return facts


def _degrees(tags: Mapping[str, str], key: str) -> float | None:
    """Read GDAL's ``(47) (22) (11.5)``, the reference (N, S, E, W) in a tag of its own."""
    parts = [float(v) for v in re.findall(r"[\d.]+", tags.get(key, ""))]
    if len(parts) != 3:
        return None
    sign = -1 if tags.get(f"{key}Ref", "").strip().upper() in ("S", "W") else 1
    return sign * (parts[0] + parts[1] / 60 + parts[2] / 3600)

"""Ground covers and surface colours, as vertical aerial images show them.

Colours are 8-bit RGB without light; a cover's tone is a random mix of its ``tones``.
"""

from dataclasses import dataclass

import numpy as np

RGB = tuple[int, int, int]
MASK_LABELS = ("building", "road", "vegetation", "water", "unpaved land")


@dataclass(frozen=True, slots=True)
class Cover:
    """How a ground cover looks.

    Attributes:
        label: its class in the land-cover mask, or None for background.
        tones: colours it may have.
        broad, mid, grain: relative strength of texture at about 40 m, 5 m and one pixel.
        seasonal: how far drought browns it, 0 to 1.
    """

    label: str | None
    tones: tuple[RGB, ...]
    broad: float
    mid: float
    grain: float
    seasonal: float = 0.0


COVERS: dict[str, Cover] = {
    "grass": Cover("vegetation", ((92, 106, 62), (116, 126, 78), (78, 96, 56), (132, 136, 88)), 0.10, 0.09, 0.08, 1.0),
    "lawn": Cover("vegetation", ((104, 126, 70), (90, 116, 62), (120, 134, 84)), 0.06, 0.05, 0.06, 0.8),
    "scrub": Cover("vegetation", ((104, 108, 72), (90, 98, 62), (120, 118, 80)), 0.12, 0.22, 0.14, 0.8),
    "forest floor": Cover("vegetation", ((48, 62, 38), (58, 70, 42), (40, 54, 34)), 0.08, 0.16, 0.12, 0.4),
    "crop": Cover("vegetation", ((96, 122, 62), (122, 142, 74), (74, 102, 54), (140, 148, 84)), 0.07, 0.05, 0.05, 0.8),
    "ploughed": Cover(
        "unpaved land", ((142, 116, 90), (160, 132, 104), (120, 98, 78), (172, 150, 120)), 0.09, 0.06, 0.06
    ),
    "soil": Cover(
        "unpaved land", ((160, 138, 112), (146, 120, 95), (180, 156, 128), (164, 128, 100)), 0.10, 0.10, 0.08
    ),
    "sand": Cover("unpaved land", ((214, 194, 154), (200, 180, 142), (224, 206, 170)), 0.07, 0.05, 0.05),
    "gravel": Cover("unpaved land", ((172, 164, 150), (158, 150, 138)), 0.06, 0.09, 0.12),
    "water": Cover("water", ((44, 66, 78), (34, 54, 58), (58, 84, 80), (66, 104, 112), (82, 92, 80)), 0.08, 0.03, 0.05),
    "asphalt": Cover("road", ((112, 112, 116), (92, 94, 98), (134, 132, 130), (150, 146, 142)), 0.05, 0.06, 0.06),
    "track": Cover("road", ((186, 168, 138), (172, 152, 122), (196, 184, 160)), 0.05, 0.10, 0.08),
    "marking": Cover("road", ((222, 222, 216), (206, 206, 202)), 0.02, 0.04, 0.04),
    "pavement": Cover(None, ((176, 172, 164), (160, 156, 150), (190, 186, 178)), 0.05, 0.06, 0.07),
    "car park": Cover(None, ((104, 104, 108), (128, 126, 124), (86, 88, 92)), 0.06, 0.07, 0.06),
    "runway": Cover(None, ((118, 118, 120), (140, 138, 134), (98, 100, 104)), 0.05, 0.07, 0.05),
    "apron": Cover(None, ((172, 170, 162), (156, 154, 148), (186, 182, 172)), 0.05, 0.05, 0.05),
    "paint": Cover(None, ((222, 220, 212), (210, 190, 110)), 0.02, 0.04, 0.04),
    "wake": Cover("water", ((150, 166, 166), (128, 148, 150)), 0.05, 0.20, 0.16),
}

ROOFS: tuple[RGB, ...] = (
    (168, 92, 70),
    (150, 78, 60),
    (182, 112, 86),
    (128, 96, 80),
    (104, 86, 76),
    (86, 86, 92),
    (112, 112, 116),
    (150, 150, 150),
    (186, 184, 180),
    (222, 220, 214),
    (234, 232, 226),
    (196, 172, 138),
    (92, 124, 160),
    (112, 138, 122),
    (144, 100, 80),
)
CARS: tuple[RGB, ...] = (
    (232, 232, 230),
    (206, 208, 210),
    (160, 164, 168),
    (92, 94, 98),
    (40, 42, 46),
    (160, 44, 40),
    (50, 74, 128),
    (190, 176, 150),
    (62, 92, 74),
)
CROWNS: tuple[RGB, ...] = ((62, 82, 46), (74, 94, 52), (54, 72, 44), (88, 104, 60), (50, 66, 48), (98, 106, 62))
HULLS: tuple[RGB, ...] = ((226, 226, 222), (200, 200, 198), (128, 62, 52), (72, 80, 92), (150, 150, 148), (60, 66, 70))
COURTS: tuple[RGB, ...] = ((74, 118, 96), (70, 102, 140), (172, 100, 76), (96, 134, 104), (150, 88, 72))


def toned(rgb: RGB, factor: float) -> RGB:
    """Lighten or darken a colour."""
    red, green, blue = (int(np.clip(v * factor, 0, 255)) for v in rgb)
    return red, green, blue

"""Putting a cut-out on a ground so that it looks as if it stood there.

It goes where the ground resembles its own, takes the ground's brightness and colour, brings its shadow, and its edge is
feathered by about a pixel. What is recorded is the pasted outline itself.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from train.data.composites.pool import Box, Cutout
from train.data.records import LabelledBox

TRIES = 40
GAP_PX = 3


@dataclass(frozen=True, slots=True)
class Pasted:
    """A cut-out with its place on a ground.

    Attributes:
        cutout: turned and scaled.
        corner: ``x, y`` of its upper left pixel; the margin may reach over the ground's edge.
        gain: colour factor that fits it to the ground, ``(3,)``.
    """

    cutout: Cutout
    corner: tuple[int, int]
    gain: np.ndarray

    @property
    def box_px(self) -> Box:
        """The tight box of its outline on the ground."""
        x, y = self.corner
        x1, y1, x2, y2 = self.cutout.box_px
        return (x1 + x, y1 + y, x2 + x, y2 + y)

    @property
    def labelled(self) -> LabelledBox:
        """The box with its class."""
        return LabelledBox(label=self.cutout.label, box_px=self.box_px)


def turned(cutout: Cutout, quarter_turns: int, flip: bool, scale: float) -> Cutout | None:
    """Turn, mirror and scale a cut-out; None if it becomes too small to see."""
    layers = [cutout.rgb, cutout.opacity, cutout.shade]
    if flip:
        layers = [layer[:, ::-1] for layer in layers]
    layers = [np.rot90(layer, quarter_turns) for layer in layers]
    height, width = layers[1].shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rgb = np.stack([_resized(layers[0][..., k], size) for k in range(3)], axis=2)
    opacity, shade = _resized(layers[1], size), _resized(layers[2], size)
    ys, xs = np.nonzero(opacity >= 0.5)
    if len(xs) == 0 or max(np.ptp(xs), np.ptp(ys)) < 6 or min(np.ptp(xs), np.ptp(ys)) < 3:
        return None
    box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    return Cutout(cutout.label, np.clip(rgb, 0, 255), opacity, np.clip(shade, 0, 0.7), cutout.ground, None, box)


def _resized(layer: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(layer, np.float32))
    return np.asarray(
        picture.resize(size, Image.Resampling.BICUBIC if size[0] > picture.width else Image.Resampling.BOX)
    )


def find_room(
    rng: np.random.Generator, image: np.ndarray, cutout: Cutout, taken: list[Box], tolerance: float = 48.0
) -> Pasted | None:
    """Find a free place for a cut-out whose ground looks most like its own.

    Args:
        rng: proposes places.
        image: the ground, ``(H, W, 3)`` float32.
        cutout: turned and scaled.
        taken: boxes that it may not touch.
        tolerance: largest accepted distance of ground colour plus unevenness, in grey levels.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = cutout.box_px
    free_x, free_y = width - int(x2 - x1) - 4, height - int(y2 - y1) - 4
    if free_x < 1 or free_y < 1:
        return None
    best, best_cost = None, tolerance
    for _ in range(TRIES):
        left, top = int(rng.integers(2, free_x + 2)), int(rng.integers(2, free_y + 2))
        box = (left, top, left + int(x2 - x1), top + int(y2 - y1))
        if any(_near(box, other) for other in taken):
            continue
        patch = image[box[1] : box[3], box[0] : box[2]].reshape(-1, 3)
        mean = patch.mean(axis=0)
        hue = (mean - mean.mean()) - (cutout.ground - cutout.ground.mean())
        cost = float(np.abs(hue).sum() + 0.25 * abs(mean.mean() - cutout.ground.mean()) + patch.std(axis=0).mean())
        if cost < best_cost:
            gain = np.clip((mean + 12) / (cutout.ground + 12), 0.7, 1.4) ** 0.8
            best, best_cost = Pasted(cutout, (left - int(x1), top - int(y1)), gain), cost
    return best


def _near(a: Box, b: Box) -> bool:
    return a[0] < b[2] + GAP_PX and b[0] < a[2] + GAP_PX and a[1] < b[3] + GAP_PX and b[1] < a[3] + GAP_PX


def blend(image: np.ndarray, pasted: Pasted, blur_px: float = 0.6) -> None:
    """Draw a cut-out into an image, ``(H, W, 3)`` float32, in place."""
    (y1, y2, x1, x2), inner = _windows(image.shape, pasted)
    target = image[y1:y2, x1:x2]
    soft = Image.fromarray((np.clip(pasted.cutout.opacity, 0, 1) * 255).astype(np.uint8))
    opacity = (np.asarray(soft.filter(ImageFilter.GaussianBlur(blur_px)), np.float32) / 255)[inner][..., None]
    shade = pasted.cutout.shade[inner][..., None]
    target *= 1 - shade * 0.85
    target += (np.clip(pasted.cutout.rgb[inner] * pasted.gain, 0, 255) - target) * opacity


def outline(shape: tuple[int, ...], pasted: Pasted) -> np.ndarray:
    """Return the pixels of an image of this shape that the object covers, ``(H, W)`` bool."""
    cells = np.zeros(shape[:2], bool)
    (y1, y2, x1, x2), inner = _windows(shape, pasted)
    cells[y1:y2, x1:x2] = pasted.cutout.opacity[inner] >= 0.5
    return cells


def _windows(shape: tuple[int, ...], pasted: Pasted) -> tuple[tuple[int, int, int, int], tuple[slice, slice]]:
    """Return the part of the image that a cut-out covers, ``y1, y2, x1, x2``, and the part of the cut-out inside it."""
    x, y = pasted.corner
    height, width = pasted.cutout.opacity.shape
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, shape[1]), min(y + height, shape[0])
    return (y1, y2, x1, x2), (slice(y1 - y, y2 - y), slice(x1 - x, x2 - x))

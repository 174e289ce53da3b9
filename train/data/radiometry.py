"""What lies between the ground and the stored pixel: light, haze, sensor, compression.

Two dates of one place get two of these, so that a difference of radiometry is never taken for a change of the ground.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiometry:
    """One acquisition.

    Attributes:
        gain: factor of each channel: exposure times colour cast.
        haze: added grey level, 0 to 255.
        gamma: exponent of the normalised grey level.
        saturation: 1 leaves colours as they are, 0 gives grey.
        dryness: how far green is browned (above 0) or freshened (below 0).
        gradient: change of brightness across the image, ``(per width, per height)``, relative.
        blur_px: standard deviation of the point spread.
        noise: standard deviation of the sensor noise in grey levels.
        shift_px: ``(dx, dy)`` of the content, sub-pixel, for a pair that does not register perfectly.
        quality: JPEG quality.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    haze: float = 0.0
    gamma: float = 1.0
    saturation: float = 1.0
    dryness: float = 0.0
    gradient: tuple[float, float] = (0.0, 0.0)
    blur_px: float = 0.0
    noise: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    quality: int = 92


def random_radiometry(rng: np.random.Generator, *, strength: float = 1.0, max_shift_px: float = 0.0) -> Radiometry:
    """Draw an acquisition; ``strength`` scales how far light and colour may lie from neutral."""
    cast = 1.0 + strength * 0.035 * rng.standard_normal(3)
    exposure = float(np.exp(strength * 0.13 * rng.standard_normal()))
    red, green, blue = (float(v) for v in exposure * np.clip(cast, 0.85, 1.15))
    return Radiometry(
        gain=(red, green, blue),
        haze=float(strength * max(0.0, rng.normal(4, 8))),
        gamma=float(np.exp(strength * 0.12 * rng.standard_normal())),
        saturation=float(np.clip(1 + strength * 0.14 * rng.standard_normal() - 0.05, 0.5, 1.2)),
        gradient=(float(strength * rng.normal(0, 0.05)), float(strength * rng.normal(0, 0.05))),
        blur_px=float(max(0.0, rng.normal(0.35, 0.35) * strength)),
        noise=float(strength * abs(rng.normal(1.0, 2.0))),
        shift_px=(float(rng.uniform(-1, 1) * max_shift_px), float(rng.uniform(-1, 1) * max_shift_px)),
        quality=int(rng.integers(68, 96)),
    )


def expose(ground: np.ndarray, light: Radiometry, rng: np.random.Generator) -> np.ndarray:
    """Return what the sensor stores, ``(H, W, 3)`` uint8, of ``ground``, ``(H, W, 3)`` float32 in [0, 255]."""
    height, width = ground.shape[:2]
    ramp_x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :, None] * light.gradient[0]
    ramp_y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None, None] * light.gradient[1]
    image = ground * (1 + ramp_x + ramp_y) * np.array(light.gain, np.float32)
    if light.dryness:
        green = np.clip((2 * image[..., 1:2] - image[..., 0:1] - image[..., 2:3]) / 60, 0, 1)
        image = image + green * light.dryness * np.array([40, 6, -8], np.float32)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * light.saturation
    image = np.clip(image / 255, 0, 1) ** light.gamma
    image = image * (255 - light.haze) + light.haze
    picture = Image.fromarray(np.clip(image + 0.5, 0, 255).astype(np.uint8))
    dx, dy = light.shift_px
    if dx or dy:
        picture = _shifted(picture, dx, dy)
    if light.blur_px > 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(light.blur_px))
    if light.noise < 0.5:
        return np.asarray(picture)
    noise = rng.standard_normal((height, width, 3), dtype=np.float32) * light.noise
    return np.clip(np.asarray(picture) + noise + 0.5, 0, 255).astype(np.uint8)


def _shifted(picture: Image.Image, dx: float, dy: float) -> Image.Image:
    """Move the content by a fraction of a pixel; the edge is repeated."""
    pad = 2
    padded = np.pad(np.asarray(picture), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    moved = Image.fromarray(padded).transform(
        (padded.shape[1], padded.shape[0]), Image.Transform.AFFINE, (1, 0, -dx, 0, 1, -dy), Image.Resampling.BICUBIC
    )
    return moved.crop((pad, pad, pad + picture.width, pad + picture.height))


def save_jpeg(path: Path, image: np.ndarray, quality: int) -> None:
    """Write an ``(H, W, 3)`` uint8 image."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    path.write_bytes(buffer.getvalue())

"""How far two dates of one place lie out of register, and the map that brings the second onto the first.

Axes: H rows, W columns of a picture; N blocks. Frame: pixels of the first date's grid, x to the right and y down.

The overlap is compared as a whole at a coarse scale, then in blocks at full scale by phase correlation of their edges:
edges, because light and season change a surface's tone more than its outline, and blocks, because a shift that many of
them find by themselves is no accident, while a block that has changed disagrees.

Source: phase correlation, Kuglin and Hines (1975); its peak between pixels by a matrix-multiply DFT, Guizar-Sicairos et
al., Optics Letters 33(2), 2008.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rsvlm_cli.geo.raster import Chip, Raster
from rsvlm_cli.results import Affine6, BoxPx

COARSE_SIDE_PX = 512
BLOCK_PX = 256
MIN_BLOCK_PX = 64
BLOCKS_A_SIDE = 5
MIN_VALID_FRAC = 0.6
"""A block with less ground that both dates hold is passed over."""

MIN_PEAK = 8.0
"""Standard deviations by which a peak stands out; noise stays below 7.5 in hundreds of trials."""

AGREE_PX = 0.5
MIN_BLOCKS, MIN_AGREEMENT = 3, 0.5
"""Fewer blocks that agree, or a smaller share of them, and the shift counts as not measured."""

LOW_PASS = 0.2
"""Width of the Gaussian on the spectrum, in cycles a pixel: beyond, resampling has left little but noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Where the second date shows the ground of the first.

    Attributes:
        moved: affine ``(a, b, c, d, e, f)`` from a pixel of the first date to the pixel at which the second, on the
            same grid, shows that ground.
        n_blocks: blocks in which a shift was found.
        agreement: share of them that ``moved`` meets to `AGREE_PX`.
    """

    moved: Affine6
    n_blocks: int
    agreement: float

    def shift_px(self, at_px: tuple[float, float]) -> tuple[float, float]:
        """Return how far the second date lies to the right and down at a place."""
        a, b, c, d, e, f = self.moved
        x, y = at_px
        return a * x + b * y + c - x, d * x + e * y + f - y

    @property
    def rotation_deg(self) -> float:
        """How far the second date is turned clockwise on the picture."""
        return float(np.degrees(np.arctan2(self.moved[3], self.moved[0])))


def measure_registration(a: Raster, b: Raster, area_px: BoxPx) -> Registration | None:
    """Measure where B shows A's ground; None where too few blocks agree, as over water or after a great change.

    Args:
        a: the first date.
        b: the second, read on the grid of the first.
        area_px: what both cover.
    """
    x1, y1, x2, y2 = (round(v) for v in area_px)
    block_px = max(MIN_BLOCK_PX, min(BLOCK_PX, min(x2 - x1, y2 - y1) // 2))
    if min(x2 - x1, y2 - y1) < block_px:
        return None
    blocks = [(x, y, x + block_px, y + block_px) for y in _starts(y1, y2, block_px) for x in _starts(x1, x2, block_px)]
    # The coarse look may be taken in by what repeats itself; then the blocks do not agree around its shift.
    for start in dict.fromkeys([_coarse_shift(a, b, (x1, y1, x2, y2)), (0, 0)]):
        shifts = [_block_shift(a, b, block, start) for block in blocks]
        found = [k for k, shift in enumerate(shifts) if shift is not None]
        centres = np.array([blocks[k][:2] for k in found], float).reshape(-1, 2) + block_px / 2
        fitted = fit_registration(centres, np.array([shifts[k] for k in found], float).reshape(-1, 2))
        if fitted is not None:
            return fitted
    return None


def fit_registration(centres_px: np.ndarray, shifts_px: np.ndarray) -> Registration | None:
    """Find the shift, and the turn and scale where they are told apart from it, that most blocks agree on.

    Every single block and every two blocks propose a map; the one that most blocks meet is refined on those.

    Args:
        centres_px: ``(N, 2)``, the middle of each block.
        shifts_px: ``(N, 2)``, what was found there.
    """
    n = len(shifts_px)
    if n < MIN_BLOCKS:
        return None
    centre = centres_px.mean(axis=0)
    at = centres_px - centre

    def meets(law: np.ndarray) -> np.ndarray:
        return np.asarray(np.hypot(*(_similar(at) @ law - shifts_px.ravel()).reshape(-1, 2).T) < AGREE_PX)

    def refine(law: np.ndarray, n_terms: int) -> np.ndarray:
        for _ in range(3):
            rows = np.repeat(meets(law), 2)
            found = np.linalg.lstsq(_similar(at)[rows, :n_terms], shifts_px.ravel()[rows], rcond=None)[0]
            law = np.pad(found, (0, 4 - n_terms))
        return law

    plain = refine(max((np.array([*shift, 0, 0]) for shift in shifts_px), key=lambda law: meets(law).sum()), 2)
    law = plain
    if n >= 4:
        turns = [
            np.linalg.lstsq(_similar(at[[i, j]]), shifts_px[[i, j]].ravel(), rcond=None)[0]
            for i, j in combinations(range(n), 2)
        ]
        turned = refine(max(turns, key=lambda law: meets(law).sum()), 4)
        reach = np.hypot(*at.T).max() * np.hypot(*turned[2:])
        if meets(turned).sum() > meets(plain).sum() and reach > AGREE_PX:
            law = turned
    agreeing = int(meets(law).sum())
    if agreeing < MIN_BLOCKS or agreeing < MIN_AGREEMENT * n:
        return None
    tx, ty, grow, turn = (float(v) for v in law)
    a, b = 1 + grow, -turn
    c, f = tx - grow * centre[0] + turn * centre[1], ty - turn * centre[0] - grow * centre[1]
    return Registration(moved=(a, b, float(c), turn, a, float(f)), n_blocks=n, agreement=agreeing / n)


def phase_shift(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Return how far ``b``'s content lies to the right of and below ``a``'s, and by how much the peak stands out.

    Args:
        a: ``(H, W)`` float.
        b: the same.

    Returns:
        dx, dy in pixels, to a tenth or better; the peak's height in standard deviations of the correlation.
    """
    height, width = a.shape
    taper = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    cross = np.fft.fft2(b * taper) * np.conj(np.fft.fft2(a * taper))
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    cross *= np.exp(-(fx**2 + fy**2) / (2 * LOW_PASS**2)) / np.maximum(np.abs(cross), 1e-12)
    surface = np.fft.ifft2(cross).real
    spread = float(surface.std())
    if spread == 0:
        return 0.0, 0.0, 0.0
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    y, x = float((row + height // 2) % height - height // 2), float((column + width // 2) % width - width // 2)
    for step in (0.25, 0.025):  # the peak between pixels, by a finer and finer grid around it
        near = step * np.arange(-6, 7)
        along_y = np.exp(2j * np.pi * np.outer(y + near, fy[:, 0]))
        along_x = np.exp(2j * np.pi * np.outer(fx[0], x + near))
        fine = (along_y @ cross @ along_x).real
        j, i = np.unravel_index(int(fine.argmax()), fine.shape)
        y, x = y + float(near[j]), x + float(near[i])
    return x, y, float(surface.max()) / spread


def edges(chip: Chip) -> np.ndarray:
    """Return the strength of a picture's edges, ``(H, W)`` float, zero on average and where there is no data."""
    grey = chip.pixels.mean(axis=2)
    gy, gx = np.gradient(grey)
    strength = np.hypot(gx, gy)
    # A gradient looks one pixel around, so the rim of the data is not data either.
    inner = chip.valid.copy()
    inner[1:] &= chip.valid[:-1]
    inner[:-1] &= chip.valid[1:]
    inner[:, 1:] &= chip.valid[:, :-1]
    inner[:, :-1] &= chip.valid[:, 1:]
    return np.where(inner, strength - strength[inner].mean(), 0.0) if inner.any() else np.zeros(grey.shape)


def _coarse_shift(a: Raster, b: Raster, area: tuple[int, int, int, int]) -> tuple[int, int]:
    """Return the shift of the whole overlap in whole pixels, or none where nothing stands out."""
    width, height = area[2] - area[0], area[3] - area[1]
    shrink = max(1.0, max(width, height) / COARSE_SIDE_PX)
    size = (max(MIN_BLOCK_PX, round(width / shrink)), max(MIN_BLOCK_PX, round(height / shrink)))
    box: BoxPx = (float(area[0]), float(area[1]), float(area[2]), float(area[3]))
    x, y, peak = phase_shift(edges(a.read(box, size)), edges(b.read(box, size)))
    return (round(x * width / size[0]), round(y * height / size[1])) if peak > MIN_PEAK else (0, 0)


def _block_shift(
    a: Raster, b: Raster, box: tuple[int, int, int, int], start: tuple[int, int]
) -> tuple[float, float] | None:
    """Return the shift of one block, looked for around ``start``; None where it holds too little to say."""
    x1, y1, x2, y2 = box
    left, top, right, bottom = x1 + start[0], y1 + start[1], x2 + start[0], y2 + start[1]
    if left < 0 or top < 0 or right > b.width_px or bottom > b.height_px:
        return None
    one, two = a.read((x1, y1, x2, y2)), b.read((left, top, right, bottom))
    if (one.valid & two.valid).mean() < MIN_VALID_FRAC:
        return None
    x, y, peak = phase_shift(edges(one), edges(two))
    far = max(abs(x), abs(y)) > (x2 - x1) / 4
    return None if peak < MIN_PEAK or far else (start[0] + x, start[1] + y)


def _starts(low: int, high: int, block_px: int) -> list[int]:
    n = min(BLOCKS_A_SIDE, max(1, 2 * (high - low) // block_px - 1))
    return [low + round((high - low - block_px) * k / max(1, n - 1)) for k in range(n)]


def _similar(at: np.ndarray) -> np.ndarray:
    """Return the rows of shift = (tx, ty) + grow (x, y) + turn (-y, x), ``(2 N, 4)``."""
    rows = np.zeros((len(at), 2, 4))
    rows[:, 0, 0] = rows[:, 1, 1] = 1
    rows[:, 0, 2:], rows[:, 1, 2:] = at * [1, -1], at[:, ::-1]
    return rows.reshape(-1, 4)

"""What a task answers, as frozen values that know their place.

Frames, named in every field: ``px`` is the original raster's pixel grid, x to the right and y down, origin at the upper
left corner of the upper left pixel, so pixel (0, 0) spans [0, 1); ``crs`` is the raster's own coordinate system;
``lonlat`` is WGS 84 in degrees. A transform is the affine ``(a, b, c, d, e, f)`` with
``x_crs = a x_px + b y_px + c`` and ``y_crs = d x_px + e y_px + f``; rotation is allowed.
"""

from dataclasses import dataclass, field

import numpy as np

SCHEMA_VERSION = 1

BoxPx = tuple[float, float, float, float]
PointPx = tuple[float, float]
QuadPx = tuple[PointPx, PointPx, PointPx, PointPx]
Affine6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How a later date was brought onto the pixel grid of the first.

    Attributes:
        overlap_frac: share of the first raster that both cover, in [0, 1].
        gsd_ratio: pixel size of the later date by that of the first, or None where one is unknown.
        shift_px: how far the later date's ground lay to the right and down of where its georeference puts it, in pixels
            of the first at the middle of the overlap; None where no shift could be measured.
        shift_m: the length of that shift on the ground in metres, or None.
        rotation_deg: how far it was turned clockwise, or None.
        agreement: share of the blocks of the picture that agree on that, in [0, 1], or None.
        n_blocks: how many blocks were compared.
        applied: the map that was undone, affine from the first date's pixels to where the later one showed that ground;
            None where nothing was undone (``--coregister``).
        radiometry: how its light was brought to that of the first.
    """

    overlap_frac: float
    gsd_ratio: float | None = None
    shift_px: tuple[float, float] | None = None
    shift_m: float | None = None
    rotation_deg: float | None = None
    agreement: float | None = None
    n_blocks: int = 0
    applied: Affine6 | None = None
    radiometry: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the model was shown, and from where.

    Attributes:
        path: the raster, as the user named it.
        width_px, height_px: size of the whole raster.
        window_px: the part that was read, ``x1, y1, x2, y2``.
        crs: an authority string such as ``EPSG:32633``, else WKT, or None without a georeference.
        transform: of the whole raster, or None without a georeference.
        gsd_m: ground size of one raster pixel in metres, or None where it is unknown.
        placed_by: what says where it lies: ``transform``, ``ground control points, affine``, or in words; one that was
            warped to a north-up grid says so, and width_px, height_px, crs and transform are of that grid. None
            without a georeference.
        model_px: width and height of the picture the model saw.
        model_gsd_m: ground size of one model pixel in metres, or None.
        bands: the band chosen for red, green and blue, each as ``3 (red)``.
        bands_by: how they were chosen: ``asked``, ``colour interpretation``, ``band names``, ``sensor NAME`` or
            ``position``.
        stretch: how values became 8 bit, such as ``none (uint8)`` or ``2-98 % of valid pixels: 311..2740``.
        valid_frac: share of the window that holds data, in [0, 1].
        date: when it was taken, ISO 8601 to the precision known, or None.
        date_by: who says so: ``asked``, ``tag NAME`` or ``name`` (of the file), or None.
        alignment: of a later date, how it was brought onto the first one's grid, else None.
    """

    path: str
    width_px: int
    height_px: int
    window_px: BoxPx
    crs: str | None
    transform: Affine6 | None
    gsd_m: float | None
    model_px: tuple[int, int]
    model_gsd_m: float | None
    bands: tuple[str, ...]
    bands_by: str
    stretch: str
    valid_frac: float
    placed_by: str | None = None
    date: str | None = None
    date_by: str | None = None
    alignment: Alignment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an answer took.

    Attributes:
        windows: of the raster that the model was shown for it.
        tokens: computed for it, of pictures, prompts and replies, less what was still there from the answer before.
        seconds: wall time.
    """

    windows: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Windows of one size that the model was shown.

    Attributes:
        n_windows: how many; those without data are not shown.
        window_px: width and height of each in the raster's pixels.
        model_px: width and height of the picture that the model saw of each.
        model_gsd_m: ground size of one model pixel in metres, or None.
    """

    n_windows: int
    window_px: tuple[float, float]
    model_px: tuple[int, int]
    model_gsd_m: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A text: the answer to a question, a caption, a region's description.

    Attributes:
        text: as the model gave it, trimmed.
        question: what was asked, or None where the task asks nothing of the user.
        score: probability of the answer in [0, 1], or None where no honest figure exists.
        score_method: what the score is, such as ``p(first token among yes, no)`` or ``mean token probability``.
        truncated: whether the token budget ended first.
        cost: what it took, or None where it is not counted.
        pair: of a change, which two of the report's sources it speaks of, counted from 0; else None.
    """

    text: str
    question: str | None = None
    score: float | None = None
    score_method: str | None = None
    truncated: bool = False
    cost: Cost | None = None
    pair: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """A distribution over the labels that were offered.

    Attributes:
        labels: in falling order of probability.
        probabilities: in [0, 1], summing to one, in the order of ``labels``.
        score_method: how they were made.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    score_method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box in the raster's pixels, upright or turned.

    Attributes:
        label: the phrase or class it answers.
        box_px: ``x1, y1, x2, y2`` in the original raster's pixels; the upright hull of a turned box.
        quad_px: of a turned box its four vertices ``x, y`` in the original raster's pixels, clockwise on screen from
            the smallest y, then x; None for an upright box.
        score: in [0, 1], or None.
        score_method: what the score is.
    """

    label: str
    box_px: BoxPx
    quad_px: QuadPx | None = None
    score: float | None = None
    score_method: str | None = None

    @property
    def outline_px(self) -> QuadPx:
        """The four vertices of any box, clockwise on screen; of an upright one from its upper left corner."""
        x1, y1, x2, y2 = self.box_px
        return self.quad_px or ((x1, y1), (x2, y1), (x2, y2), (x1, y2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop(Box):
    """A window that was looked at more closely for an answer.

    Attributes:
        label: ``decided`` where the answer rests on what this window shows, else ``looked``.
        box_px: the window, ``x1, y1, x2, y2`` in the original raster's pixels.
        quad_px: None, windows are upright.
        score: of the window's own answer, in [0, 1], or None.
        score_method: what the score is.
        question: what was asked.
        step: its place in the order of looking, from 1; the overview is no hop.
        answer: the window's own.
        read_from: ``file``, or ``overview`` where it was cut from the picture of the whole.
        model_gsd_m: ground size of one model pixel in metres, or None.
        tokens: computed for it.
        seconds: wall time.
    """

    question: str
    step: int
    answer: str
    read_from: str
    model_gsd_m: float | None
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A label grid over a part of the raster.

    Attributes:
        labels: cell value k means ``labels[k - 1]``; 0 is background, 255 is no data.
        cells: ``(rows, columns)`` uint8.
        probability: ``(rows, columns)`` float32 in [0, 1], of the cell's own value, or None.
        area_px: the part of the raster that the grid spans, ``x1, y1, x2, y2``; cells are equal and need not be square.
        score_method: what the probability is.
        pair: of a change, which two of the report's sources were compared, counted from 0; else None.
    """

    labels: tuple[str, ...]
    cells: np.ndarray
    area_px: BoxPx
    probability: np.ndarray | None = None
    score_method: str | None = None
    pair: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many things of a class were found; each of them is a `Box` of the same report.

    Attributes:
        label: the class.
        n: how many.
        min_score: from which score a box counts, in [0, 1].
    """

    label: str
    n: int
    min_score: float


Result = Answer | ClassScores | Count | Box | Hop | Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One thing that was asked of the model, and what it replied.

    Attributes:
        window_px: the part of the raster that it was shown, ``x1, y1, x2, y2``.
        prompt: the whole prompt, image placeholders included.
        reply: the text as it was decoded, or the likeliest of the choices.
        choices: the replies that it had to weigh, each with its log-likelihood; empty where the reply was decoded.
        truncated: whether the token budget ended first.
    """

    window_px: BoxPx
    prompt: str
    reply: str
    choices: tuple[tuple[str, float], ...] = ()
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one request gave: the root of the JSON schema (``rsvlm schema``).

    Attributes:
        task: the subcommand.
        model: name of the bundle and the sha256 of its manifest.
        sources: one for each raster, in the order given; of several dates, results lie on the first one's pixel grid.
        results: in reading order.
        looks: the windows that the model was shown, by size, the widest first.
        truncated: whether any reply ran out of budget.
        warnings: one line each.
        seconds: wall time of the stages, by name.
        transcript: the first prompts and replies, in the order of asking.
        n_asked: how many there were.
    """

    task: str
    model: tuple[str, str]
    sources: tuple[Source, ...]
    results: tuple[Result, ...]
    looks: tuple[Looks, ...] = ()
    truncated: bool = False
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    transcript: tuple[Exchange, ...] = ()
    n_asked: int = 0

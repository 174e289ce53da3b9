"""``rsvlm demo``: the tool on a place that it makes up itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsvlm_cli.options import DEFAULT_MODEL, ModelOption

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = ("rsvlm demo", "rsvlm demo --out my-demo --overwrite")

SIDE_PX, GSD_M = 768, 0.5
CRS = "EPSG:32736"
TRANSFORM = (GSD_M, 0.0, 523_000.0, 0.0, -GSD_M, 9_252_000.0)
"""UTM 36 south, in Tanzania; any place would do."""

NAMES = (
    *("before.tif", "after.tif"),
    *("river.tif", "river.tif.aux.xml", "river.qml", "river.png"),
    *("buildings.gpkg", "buildings.png"),
    *("change.tif", "change.tif.aux.xml", "change.geojson", "change.qml", "change.png"),
)
QUESTIONS = ("Is there water?", "How many buildings are there?", "Which land cover is most common?")


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where files go; made if it is not there.")
    ] = Path("demo-out"),
    model: ModelOption = DEFAULT_MODEL,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Draw a place at two dates as GeoTIFFs, ask about it, mask it, find what changed, and name the files written."""
    import sys
    from dataclasses import replace

    from rsvlm_cli import pipeline
    from rsvlm_cli.geo.picture import write_picture
    from rsvlm_cli.output.deliver import Targets, write_file
    from rsvlm_cli.output.files import check_target
    from rsvlm_cli.output.text import report_to_text
    from rsvlm_cli.results import Report
    from rsvlm_cli.settings import Settings

    out.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        check_target(out / name, overwrite=overwrite)
    for name, n_buildings in (("before.tif", 8), ("after.tif", 20)):
        write_picture(out / name, draw_place(n_buildings), CRS, TRANSFORM, overwrite=overwrite)
    before, after = str(out / "before.tif"), str(out / "after.tif")
    settings, targets = Settings(model=model), Targets(overwrite=overwrite)
    by_windows = replace(settings, tile="auto")  # the default of commands that give masks

    def show(command: str, report: Report, *files: str) -> None:
        sys.stdout.write(f"$ rsvlm {command}\n{report_to_text(report) or 'nothing found'}\n")
        for name in files:
            write_file(out / name, report, targets)
        sys.stdout.flush()

    for question in QUESTIONS:
        show(f'ask {after} "{question}"', pipeline.ask([after], [question], settings))
    show(f"caption {after}", pipeline.caption(after, settings))
    show(f"segment {after} --label water", pipeline.segment(after, ["water"], by_windows), "river.tif", "river.png")
    found = pipeline.detect("detect", after, ["building"], replace(settings, tile="384"))
    show(f"detect {after} --classes building --tile 384", found, "buildings.gpkg", "buildings.png")
    changed = pipeline.detect_change([before, after], ["building"], by_windows)
    show(f"detect-change {before} {after} --label building", changed, "change.tif", "change.geojson", "change.png")
    sys.stdout.write("written:\n" + "".join(f"  {out / name}\n" for name in NAMES))


def draw_place(n_buildings: int) -> "np.ndarray":
    """Draw fields, a river, roads and buildings from above, the sun in the north-west.

    The ground and the first buildings are always the same, so more buildings are a later date.

    Returns:
        ``(SIDE_PX, SIDE_PX, 3)`` uint8.
    """
    import numpy as np
    from PIL import Image

    rng, side = np.random.default_rng(7), SIDE_PX
    y, x = np.mgrid[:side, :side].astype(np.float32)
    fields = np.array([(96, 112, 62), (128, 124, 78), (78, 98, 54), (150, 138, 98), (88, 104, 70)], np.float32)
    parcel = ((x + 0.3 * y) // 150).astype(int) + 3 * ((y - 0.2 * x + 200) // 190).astype(int)
    ground: np.ndarray = fields[parcel % len(fields)]
    ground *= 1 + 0.06 * np.sin((x + 0.4 * y) / 3)[..., None] * (parcel % 2)[..., None]
    coarse = np.asarray(
        Image.fromarray(rng.normal(0, 14, (side // 16, side // 16)).astype(np.float32)).resize((side, side))
    )
    ground += (coarse + rng.normal(0, 5, (side, side)))[..., None]
    middle = 0.17 * side + 40 * np.sin(y / 110) + 15 * np.sin(y / 37)
    ground[np.abs(x - middle) < 44] = (108, 112, 74)
    river = np.abs(x - middle) < 34 + 6 * np.sin(y / 60)
    ground[river] = np.array((44, 66, 74)) + rng.normal(0, 2, (int(river.sum()), 1))
    for road in (np.abs(y - 0.5 * side - 0.05 * x) < 7, np.abs(x - 0.62 * side) < 6):
        ground[road] = np.array((142, 138, 132)) + rng.normal(0, 4, (int(road.sum()), 1))
    plots = [(px, py) for px in range(270, side - 70, 78) for py in range(24, side - 70, 82)]
    plots = [
        (px, py) for px, py in plots if abs(px + 25 - 0.62 * side) > 45 and abs(py + 22 - 0.5 * side - 0.05 * px) > 45
    ]
    for k in rng.permutation(len(plots))[:n_buildings]:
        _draw_building(ground, plots[k], np.random.default_rng(k))
    ground = np.clip(ground, 0, 255)
    return ground.astype(np.uint8)


def _draw_building(ground: "np.ndarray", corner: tuple[int, int], rng: "np.random.Generator") -> None:
    """Draw a hipped roof, its two slopes lit differently, and its shadow."""
    left, top = (edge + int(shift) for edge, shift in zip(corner, rng.integers(-10, 11, 2), strict=True))
    width, height = (int(v) for v in rng.integers(30, 50, 2))
    roof = [(176, 96, 76), (196, 186, 176), (150, 150, 156), (206, 200, 190)][int(rng.integers(4))]
    ground[top + 7 : top + height + 7, left + 7 : left + width + 7] *= 0.45
    ground[top : top + height, left : left + width] = roof
    ground[top + height // 2 : top + height, left : left + width] *= 0.82
    ground[top : top + height, left : left + width] += rng.normal(0, 3, (height, width, 1))

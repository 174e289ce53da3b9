"""Scenes larger than a window: the same answer whatever part, process or interruption it came by."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from rsvlm_cli import pipeline, scene
from rsvlm_cli.errors import InputError
from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.settings import Settings
from rsvlm_cli.tasks.grammar import format_boxes, format_mask
from tests.factories import ONE_METRE, write_geotiff, write_slope
from tests.fake_engine import WRITTEN, FakeReply, FakeStep, spell

TILE = 240
CELL = TILE // 24
WIDTH, HEIGHT = 1300, 1100


class Seer:
    """An engine that sees: its boxes and masks are those of what is bright in the picture it is shown."""

    def __init__(self, bundle):
        self.bundle, self.n_seen, self.fails_at = bundle, 0, None

    def encode_images(self, images):
        self.n_seen += 1
        if self.n_seen == self.fails_at:
            raise KeyboardInterrupt
        return images

    def generate(self, features, prompt, expert, **_):
        bright = features[-1].mean(axis=2) > 150
        if "[SEG]" in prompt:
            rows, columns = (((np.arange(24) + 0.5) / 24 * side).astype(int) for side in bright.shape)
            return FakeReply(
                tuple(FakeStep(c) for c in format_mask(bright[np.ix_(rows, columns)], WRITTEN.mask_style, ""))
            )
        boxes = [box / np.array(bright.shape[::-1] * 2) for box in blobs(bright)]
        return spell(format_boxes([tuple(box) for box in boxes], 100, "none"), 0.9)


def blobs(bright):
    """Return the box of each connected bright patch, in pixels."""
    from rasterio.features import shapes

    found = shapes(bright.astype(np.uint8), mask=bright)
    rings = [np.array(geometry["coordinates"][0]) for geometry, _ in found]
    return [np.array([*ring.min(axis=0), *ring.max(axis=0)]) for ring in rings]


@pytest.fixture
def seer(monkeypatch, fake_engine):
    engine = Seer(fake_engine().bundle)
    monkeypatch.setattr(scene, "open_engine", lambda *_: engine)
    return engine


@pytest.fixture
def big(tmp_path, monkeypatch):
    """A scene with 60 bright rectangles, of which some are longer than the overlap of two windows; their boxes."""
    monkeypatch.chdir(tmp_path)
    rng, bright = np.random.default_rng(2), np.zeros((HEIGHT, WIDTH), bool)
    n_left = 60
    while n_left:
        w, h = rng.integers(12, 120, 2)
        x, y = rng.integers(0, WIDTH - w), rng.integers(0, HEIGHT - h)
        if not bright[max(0, y - 8) : y + h + 8, max(0, x - 8) : x + w + 8].any():
            bright[y : y + h, x : x + w] = True
            n_left -= 1
    pixels = np.repeat(np.where(bright, 200, 80)[None], 3, axis=0).astype(np.uint8)
    write_geotiff(tmp_path / "big.tif", pixels, tiled=True, blockxsize=256, blockysize=256)
    return bright


SETTINGS = Settings(tile=str(TILE))


def detect(**more):
    return pipeline.detect("detect", "big.tif", ["roof"], replace(SETTINGS, **more))


def segment(**more):
    return pipeline.segment("big.tif", ["roof"], replace(SETTINGS, **more))


def same_mask(a, b):
    assert a.area_px == b.area_px
    np.testing.assert_array_equal(a.cells, b.cells)
    np.testing.assert_array_equal(a.probability, b.probability)


def test_things_are_found_whole_across_seams(big, seer):
    found = np.array(sorted(box.box_px for box in detect().results))
    truth = np.array(sorted(tuple(box) for box in blobs(big)))
    assert seer.n_seen == 7 * 6
    # Boxes are told in hundredths of a window; what spans two of them is told by both.
    assert len(found) == len(truth)
    for box in truth:
        assert np.abs(found - box).max(axis=1).min() <= 0.03 * TILE


def test_a_part_s_boxes_are_the_scene_s_but_within_a_window_of_its_edge(big, seer):
    whole = {box.box_px for box in detect().results}
    for part in ((130, 90, 1130, 1010), (317, 211, 1300, 900), (1, 1, 1299, 1099)):
        found = {box.box_px for box in detect(window=",".join(map(str, part))).results}
        x1, y1, x2, y2 = (side + sign * TILE for side, sign in zip(part, (1, 1, -1, -1), strict=True))
        inner = {b for b in whole if x1 < (b[0] + b[2]) / 2 < x2 and y1 < (b[1] + b[3]) / 2 < y2}
        assert inner <= found
        assert all(part[0] <= (b[0] + b[2]) / 2 <= part[2] and part[1] <= (b[1] + b[3]) / 2 <= part[3] for b in found)
        middle = {b for b in found if x1 < (b[0] + b[2]) / 2 < x2 and y1 < (b[1] + b[3]) / 2 < y2}
        assert middle == inner


@pytest.mark.parametrize("cell", [None, "5px"])
def test_a_part_s_mask_is_the_scene_s_to_the_last_digit(big, seer, cell):
    (whole,) = segment(cell=cell).results
    side = whole.area_px[2] / whole.cells.shape[1]
    assert side == pytest.approx(CELL if cell is None else CELL / 2)
    (part,) = segment(window="333,128,902,777", cell=cell).results
    x1, y1, x2, y2 = (round(v / side) for v in part.area_px)
    assert part.area_px[0] <= 333 < part.area_px[0] + CELL
    margin = 0 if cell is None else 2  # A border beside the part is not looked at again.
    inner = slice(margin, y2 - y1 - margin), slice(margin, x2 - x1 - margin)
    np.testing.assert_array_equal(part.cells[inner], whole.cells[y1:y2, x1:x2][inner])
    if cell is None:
        np.testing.assert_array_equal(part.probability, whole.probability[y1:y2, x1:x2])


def test_the_mask_is_the_ground_s(big, seer):
    (mask,) = segment().results
    np.testing.assert_array_equal(mask.cells, big[CELL // 2 :: CELL, CELL // 2 :: CELL])


def test_a_border_is_looked_at_again_until_the_cell_is_as_fine_as_asked(big, seer):
    coarse = segment()
    fine = segment(cell="2.5px")
    assert fine.results[0].cells.shape == tuple(4 * n for n in coarse.results[0].cells.shape)
    truth = big[: 1100 // 5 * 5, :][1::5, 1::5], fine.results[0].cells[0::2, 0::2]
    assert (truth[0] == truth[1]).mean() > 0.995
    assert (big[::CELL, ::CELL] == coarse.results[0].cells).mean() < 0.99
    first, second, third = fine.looks
    assert (first.window_px, second.window_px, third.window_px) == ((240, 240), (120, 120), (60, 60))
    assert first.n_windows == coarse.looks[0].n_windows == 42
    # All windows would be 15 x 12 and 29 x 25.
    assert second.n_windows < 15 * 12
    assert third.n_windows < 0.75 * 29 * 25


def test_a_scene_of_one_class_is_not_looked_at_again(tmp_path, seer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_geotiff(tmp_path / "big.tif", np.full((3, 1000, 1000), 80, np.uint8))
    assert [looks.n_windows for looks in segment(cell="2.5px").looks] == [seer.n_seen]


@pytest.mark.parametrize(
    "run", [detect, segment, lambda **more: segment(cell="5px", **more)], ids=["boxes", "mask", "fine"]
)
def test_an_interrupted_run_goes_on_at_the_window_where_it_stopped_and_ends_the_same(big, seer, run, tmp_path):
    journal = tmp_path / "out.journal"
    expected, n_whole = run(), seer.n_seen
    for fails_at in (20, 12):
        seer.n_seen, seer.fails_at = 0, fails_at
        with pytest.raises(KeyboardInterrupt):
            run(journal=journal)
    with journal.open("ab") as file:
        file.write(b'{"valid": [1.0], "trunc')  # as a process that dies while it writes leaves it
    seer.n_seen, seer.fails_at = 0, None
    report = run(journal=journal)
    assert seer.n_seen == n_whole - 19 - 11
    for ours, theirs in zip(report.results, expected.results, strict=True):
        same_mask(ours, theirs) if run is not detect else None
    assert run is not detect or report.results == expected.results
    assert report.looks == expected.looks
    assert report.sources == expected.sources


def test_a_journal_of_another_run_is_never_taken_for_this_one(big, seer, tmp_path):
    journal = tmp_path / "out.journal"
    n = len(list(detect(journal=journal).results)) and seer.n_seen
    detect(journal=journal)
    assert seer.n_seen == n
    detect(journal=journal, min_score=0.5)
    assert seer.n_seen == 2 * n
    with rasterio.open("big.tif", "r+") as dataset:
        dataset.write(np.zeros((3, 50, 50), np.uint8), window=((0, 50), (0, 50)))
    detect(journal=journal, min_score=0.5)
    assert seer.n_seen == 3 * n


def test_a_journal_of_another_terrain_of_the_same_name_is_begun_anew(big, seer, tmp_path):
    journal, dem = tmp_path / "out.journal", str(write_slope(tmp_path / "dem.tif"))
    n = len(list(detect(journal=journal, dem=dem).results)) and seer.n_seen
    detect(journal=journal, dem=dem)
    assert seer.n_seen == n
    write_slope(tmp_path / "dem.tif", columns=50)
    detect(journal=journal, dem=dem)
    assert seer.n_seen == 2 * n


def test_a_run_that_cannot_end_leaves_no_journal(tmp_path, seer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_geotiff(tmp_path / "big.tif", np.zeros((3, 500, 500), np.uint8), nodata=0)
    with pytest.raises(InputError, match="holds no data"):
        detect(journal=tmp_path / "out.journal")
    assert [path.name for path in tmp_path.iterdir()] == ["big.tif"]


def test_several_processes_find_what_one_finds(big):
    settings = replace(SETTINGS, tile="700", threads=1)
    one, two = (pipeline.segment("big.tif", ["roof"], replace(settings, jobs=jobs)) for jobs in (1, 2))
    same_mask(one.results[0], two.results[0])
    assert len(np.unique(one.results[0].probability)) > 50
    assert one.looks == two.looks


def triangle(path):
    corners = np.array([(100.0, 100), (1200, 150), (300, 1000), (100, 100)])
    ring = Georeference("big.tif", "EPSG:32633", tuple(ONE_METRE)[:6]).px_to_lonlat(corners)
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring.tolist()]}), "utf-8")
    return corners[:3]


def test_an_area_of_interest_limits_windows_boxes_and_cells(big, seer, tmp_path):
    import shapely

    area = shapely.Polygon(triangle(tmp_path / "aoi.geojson"))
    found = detect(aoi="aoi.geojson")
    n_shown = seer.n_seen
    assert n_shown < 42
    truth = [box for box in blobs(big) if area.contains(shapely.Point((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))]
    assert len(found.results) == len(truth)
    (mask,) = segment(aoi="aoi.geojson").results
    x1, y1, _, _ = mask.area_px
    y, x = np.mgrid[: mask.cells.shape[0], : mask.cells.shape[1]] * CELL + CELL / 2
    inside = shapely.contains_xy(area, x + x1, y + y1)
    np.testing.assert_array_equal(mask.cells != 255, inside)


def test_windows_without_data_are_passed_over_and_said(tmp_path, seer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.full((3, HEIGHT, WIDTH), 80, np.uint8)
    pixels[:, :, 400:] = 0
    write_geotiff(tmp_path / "big.tif", pixels, nodata=0)
    report = detect()
    assert report.looks[0].n_windows == seer.n_seen < 42
    assert report.sources[0].valid_frac == pytest.approx(400 / WIDTH, abs=0.1)
    assert any("holds no data" in warning for warning in report.warnings)
    with pytest.raises(InputError, match="holds no data"):
        segment(window="900,0,1300,500")


def test_what_the_model_saw_is_told(big, seer):
    (looks,) = detect(window="0,0,700,300").looks
    assert looks.n_windows == seer.n_seen
    assert looks.window_px == (TILE, TILE)
    assert looks.model_px == (16, 16)
    assert looks.model_gsd_m == pytest.approx(TILE / 16)

"""The road's arithmetic: which windows are shown, and where their replies land."""

import numpy as np
import pytest
import rasterio

from rsvlm_cli import pipeline, scene
from rsvlm_cli.errors import InputError, WindowOutside
from rsvlm_cli.output.features import report_features
from rsvlm_cli.output.text import report_to_text
from rsvlm_cli.results import Box
from rsvlm_cli.settings import Settings
from rsvlm_cli.tasks.grammar import format_mask
from tests.factories import draw_scene, write_geotiff
from tests.fake_engine import WRITTEN, FakeReply, FakeStep


@pytest.fixture
def here(scenes, monkeypatch, bundle_path):
    monkeypatch.chdir(scenes)
    return scenes


class Painter:
    """An engine that sees: it masks, cell by cell, what is brighter than a limit in the picture it is shown."""

    def __init__(self, bundle):
        self.bundle, self.n_seen = bundle, 0

    def encode_images(self, images):
        self.n_seen += 1
        return images

    def generate(self, features, prompt, expert, **_):
        bright = features[-1].mean(axis=2)
        height, width = bright.shape
        rows, columns = (((np.arange(24) + 0.5) / 24 * side).astype(int) for side in (height, width))
        text = format_mask(bright[np.ix_(rows, columns)] > 150, WRITTEN.mask_style, "")
        return FakeReply(tuple(FakeStep(char) for char in text))


@pytest.fixture
def painter(monkeypatch, fake_engine):
    engine = Painter(fake_engine().bundle)
    monkeypatch.setattr(scene, "open_engine", lambda *_: engine)
    return engine


def test_boxes_land_in_the_raster_s_pixels_whatever_the_window(here, fake_engine):
    fake_engine("[10, 20, 30, 40]")
    report = pipeline.detect("ground", "scene.tif", ["ship"], Settings(window="100,200,300,300"))
    (box,) = report.results
    assert box.box_px == pytest.approx((120, 220, 160, 240))
    assert report.sources[0].window_px == (100, 200, 300, 300)
    assert report.sources[0].width_px == 512


def test_tiles_are_looked_at_one_by_one_and_their_boxes_merged(here, fake_engine):
    # 512 px in tiles of 256 px: three a side, 128 px apart.
    replies = ["none"] * 9
    replies[0] = "[60, 60, 80, 80]"  # 153.6 .. 204.8
    replies[4] = "[10, 10, 30, 30]"  # the same ground: 128 + 25.6 .. 128 + 76.8
    replies[8] = "[0, 0, 50, 50]"
    engine = fake_engine(*replies)
    settings = Settings(tile="256")
    steps = []
    report = pipeline.detect("detect", "scene.tif", ["ship"], settings, lambda done, total: steps.append((done, total)))
    assert [box.box_px for box in report.results] == [
        pytest.approx((153.6, 153.6, 204.8, 204.8)),
        pytest.approx((256, 256, 384, 384)),
    ]
    assert engine.n_encoded == 9
    assert steps[0] == (0, 9)
    assert steps[-1] == (9, 9)
    assert report.sources[0].window_px == (0, 0, 512, 512)
    assert report.sources[0].model_gsd_m == pytest.approx(256 / 16)


def test_boxes_below_the_score_are_left_out(here, fake_engine):
    steps = [FakeStep("[", 1.0, (("[", 0.4), ("none", 0.6))), FakeStep("1, 2, 30, 40", 1.0), FakeStep("]")]
    for limit, n in ((0.3, 1), (0.5, 0)):
        fake_engine(FakeReply(tuple(steps)))
        assert len(pipeline.detect("detect", "scene.tif", ["ship"], Settings(min_score=limit)).results) == n


def test_tiles_without_data_are_not_shown_to_the_model(here, fake_engine):
    pixels = draw_scene((512, 512))
    pixels[:, :, 200:] = 0
    write_geotiff(here / "edge.tif", np.where(pixels == 0, 0, pixels), nodata=0)
    engine = fake_engine(*["none"] * 9)
    pipeline.detect("detect", "edge.tif", ["ship"], Settings(tile="256"))
    assert engine.n_encoded == 6


def test_a_mask_of_many_tiles_is_the_mask_of_the_ground(here, painter):
    truth = np.zeros((600, 800), bool)
    truth[90:330, 150:490] = True
    write_geotiff(here / "bright.tif", np.repeat(np.where(truth, 200, 80)[None], 3, axis=0).astype(np.uint8))
    (mask,) = pipeline.segment("bright.tif", ["building"], Settings(tile="240")).results
    assert painter.n_seen > 9
    assert mask.cells.shape == (60, 80)
    assert mask.area_px == (0, 0, 800, 600)
    np.testing.assert_array_equal(mask.cells, truth[5::10, 5::10])
    assert mask.probability.min() == 1


@pytest.mark.parametrize("tile", ["whole", "256"])
def test_a_window_without_data_is_refused_not_answered(here, fake_engine, tile):
    write_geotiff(here / "void.tif", np.zeros((3, 512, 512), np.uint8), nodata=0)
    engine = fake_engine()
    with pytest.raises(InputError, match="holds no data"):
        pipeline.detect("detect", "void.tif", ["ship"], Settings(tile=tile))
    assert engine.calls == []


def test_how_much_of_the_window_holds_data_is_told(here, fake_engine):
    pixels = draw_scene((512, 512))
    pixels[:, :, 200:] = 0
    write_geotiff(here / "edge.tif", pixels, nodata=0)
    fake_engine("a port")
    report = pipeline.caption("edge.tif", Settings())
    assert report.sources[0].valid_frac == pytest.approx(200 / 512)
    assert "edge.tif: 61% of the window holds no data" in report.warnings


def test_cells_without_data_are_no_data_in_the_mask(here, painter):
    pixels = draw_scene((480, 480))
    pixels[:, :, :120] = 0
    write_geotiff(here / "edge.tif", pixels, nodata=0)
    (mask,) = pipeline.segment("edge.tif", ["building"], Settings()).results
    assert (mask.cells[:, :6] == 255).all()
    assert (mask.cells[:, 6:] != 255).all()


def test_two_dates_are_masked_on_the_grid_of_the_first_where_both_are(here, painter):
    shifted = rasterio.Affine(1, 0, 500_256, 0, -1, 5_000_000)
    write_geotiff(here / "later.tif", np.full((3, 512, 512), 200, np.uint8), transform=shifted)
    report = pipeline.detect_change(["before.tif", "later.tif"], ["building"], Settings())
    (mask,) = report.results
    assert mask.area_px == (256, 0, 512, 512)
    assert (mask.cells == 1).all()
    assert [source.path for source in report.sources] == ["before.tif", "later.tif"]


def test_several_dates_give_a_series_of_changes_on_the_grid_of_the_first(here, painter):
    for name, side in (("2015.tif", 120), ("2019.tif", 240), ("2024.tif", 360)):
        pixels = np.full((3, 480, 480), 80, np.uint8)
        pixels[:, :side, :side] = 200
        write_geotiff(here / name, pixels)
    report = pipeline.detect_change(["2015.tif", "2019.tif", "2024.tif"], ["building"], Settings(radiometry="none"))
    assert [source.date for source in report.sources] == ["2015", "2019", "2024"]
    assert [mask.pair for mask in report.results] == [(0, 1), (1, 2)]
    # The painter masks what is bright on the second date of each two.
    assert [(mask.cells == 1).sum() for mask in report.results] == [12 * 12, 18 * 18]
    assert report.sources[2].alignment.overlap_frac == 1
    features = report_features(report)
    told = [[f.properties[key] for key in ("date_before", "date", "label", "area_m2", "score")] for f in features]
    assert told == [
        ["2015", "2019", "building", pytest.approx(240**2, rel=2e-3), 1.0],
        ["2019", "2024", "building", pytest.approx(360**2, rel=2e-3), 1.0],
    ]
    assert features[0].properties["length_m"] == pytest.approx(240 * 2**0.5, rel=2e-3)
    assert features[0].properties["perimeter_m"] == pytest.approx(4 * 240, rel=2e-3)
    table = [line.split("\t") for line in report_to_text(report).splitlines()]
    assert table == [
        ["from", "to", "label", "patches", "share", "area", "confidence"],
        ["2015", "2019", "building", "1", "25.0%", "5.76 ha", "1.00"],
        ["2019", "2024", "building", "1", "56.2%", "12.97 ha", "1.00"],
    ]


def test_the_shift_between_dates_is_undone_before_the_model_looks(here, fake_engine):
    scene = draw_scene((500, 500), buildings=9)
    write_geotiff(here / "a.tif", scene[:, 20:480, 20:480])
    write_geotiff(here / "b.tif", scene[:, 27:487, 14:474])
    engine = fake_engine("nothing", "nothing")
    for coregister in (False, True):
        report = pipeline.describe_change(["a.tif", "b.tif"], Settings(coregister=coregister, window="60,60,400,400"))
        before, after = engine.calls[-1]["features"]
        difference = np.abs(before.astype(int) - after).mean()
        assert (difference < 0.5) == coregister
        assert report.sources[1].alignment.shift_px == pytest.approx((6, -7), abs=0.05)


def test_a_small_region_is_described_within_its_surroundings(here, fake_engine):
    engine = fake_engine("a roof")
    report = pipeline.describe("scene.tif", "200,220,240,250", Settings())
    assert report.sources[0].window_px == (160, 175, 280, 295)
    assert "what is [33, 38, 67, 62]?" in engine.calls[0]["prompt"]
    assert report.results[1] == Box(label="a roof", box_px=(200, 220, 240, 250))


def test_a_region_beyond_the_window_is_refused(here, fake_engine):
    fake_engine()
    with pytest.raises(WindowOutside, match="beyond --window"):
        pipeline.describe("scene.tif", "200,220,240,250", Settings(window="0,0,210,300"))


def test_sampling_is_for_free_text_alone(here, fake_engine):
    engine = fake_engine("a port", "none")
    settings = Settings(temperature=0.7, seed=3)
    pipeline.caption("scene.tif", settings)
    pipeline.detect("ground", "scene.tif", ["ship"], settings)
    assert [call["sampling"].temperature for call in engine.calls] == [0.7, 0.0]


def test_a_report_keeps_what_was_asked_and_replied_word_by_word(here, fake_engine):
    engine = fake_engine([-0.25, -1.5], " a port ")
    report = pipeline.ask(["scene.tif"], ["Is there water?", "What is it?"], Settings(window="0,0,256,128"))
    scored, decoded = report.transcript
    assert [exchange.prompt for exchange in report.transcript] == [call["prompt"] for call in engine.calls]
    assert (scored.reply, scored.choices) == ("yes", (("yes", -0.25), ("no", -1.5)))
    assert (decoded.reply, decoded.choices) == ("a port", ())
    assert decoded.window_px == (0, 0, 256, 128)


def test_a_transcript_is_short_however_many_windows_there_are(here, fake_engine):
    engine = fake_engine(*["none"] * 225)
    report = pipeline.detect("detect", "scene.tif", ["ship"], Settings(tile="64"))
    assert report.n_asked == len(engine.calls) > scene.TRANSCRIPT_LENGTH == len(report.transcript)
    assert report.transcript[0].window_px == (0, 0, 64, 64)


def test_one_process_opens_a_model_once(here, bundle_path):
    settings = Settings(model=str(bundle_path))
    first = scene.open_engine(settings.model, settings.device, settings.threads)
    pipeline.ask(["scene.tif"], ["Is there water?"], settings)
    assert scene.open_engine(settings.model, settings.device, settings.threads) is first


def test_the_same_question_twice_gets_the_same_answer(here, bundle_path):
    settings = Settings(model=str(bundle_path))
    reports = [pipeline.caption("scene.tif", settings) for _ in range(2)]
    assert reports[0].results == reports[1].results


def test_large_scenes_are_read_by_windows(here, fake_engine):
    path = write_geotiff(here / "large.tif", np.zeros((3, 3000, 4000), np.uint8), tiled=True, compress="deflate")
    engine = fake_engine(*["none"] * 15)
    pipeline.detect("detect", str(path), ["ship"], Settings(tile="1200"))
    assert {call["features"][0].shape for call in engine.calls} == {(1200, 1200, 3)}

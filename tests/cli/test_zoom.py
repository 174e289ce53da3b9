"""Looking closer: a scene with a thing that the overview cannot show, and an engine that sees what it is shown."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from rasterio.transform import Affine

from rsvlm_cli import pipeline, scene
from rsvlm_cli.errors import ReplyTruncated
from rsvlm_cli.results import Answer, Hop
from rsvlm_cli.runtime.bundle import read_bundle, write_manifest
from rsvlm_cli.runtime.preprocess import resize
from rsvlm_cli.settings import Settings
from rsvlm_cli.tasks.cells import REACHES, blocks_of, reach_of
from rsvlm_cli.tasks.dialect import NANO, ZoomStyle
from rsvlm_cli.tasks.zoom import format_call
from rsvlm_cli.zoom import look
from tests.bundle_factory import BundleSize, make_bundle
from tests.factories import write_geotiff
from tests.fake_engine import FakeEngine, FakeReply, FakeStep, Pictures, spell

SIDE = 256
SHIP = "Is there a ship?"
SHIPS = "How many ships are there?"


class Seer(FakeEngine):
    """It sees red in the picture as the model gets it, 16 x 16 px: a ship is a pixel in which red leads by far."""

    def __init__(self, bundle):
        super().__init__([])
        self.bundle, self.shown = bundle, []

    def encode_images(self, images):
        self.shown += [image.shape for image in images]
        return Pictures(images)

    def red(self, pictures):
        small = resize(pictures[-1], self.bundle.manifest.image).astype(float)
        return small[..., 0] - small[..., 1:].max(axis=2)

    def score(self, features, prompt, expert, candidates):
        self.tokens_fed += 100
        lead = (self.red(features).max() - 60) / 12
        return [-math.log1p(math.exp(-lead)), -math.log1p(math.exp(lead))]

    def generate(self, features, prompt, expert, **_):
        self.tokens_fed += 100
        if "How many" in prompt:
            return spell(str(min(9, round((self.red(features) > 60).sum() / 4))), 0.9)
        return FakeReply(
            (FakeStep("red" if self.red(features).max() > 60 else "grey", 0.5 + self.red(features).max() / 600),)
        )


@pytest.fixture
def seer(monkeypatch, fake_engine):
    engine = Seer(fake_engine().bundle)
    monkeypatch.setattr(scene, "open_engine", lambda *_: engine)
    return engine


@pytest.fixture
def here(scenes, monkeypatch, bundle_path):
    monkeypatch.chdir(scenes)
    return scenes


def draw(folder, *ships, name="port.tif", size=(SIDE, SIDE), **profile):
    """Write grey water with red ships of 4 x 4 px at the given upper left corners."""
    pixels = np.full((3, size[1], size[0]), 90, np.uint8)
    for x, y in ships:
        pixels[0, y : y + 4, x : x + 4] = 250
    write_geotiff(folder / name, pixels, **profile)
    return name


def ask(question, name="port.tif", **settings):
    """Return the answer and its hops."""
    report = pipeline.ask([name], [question], Settings(**settings))
    found, *hops = report.results
    assert isinstance(found, Answer)
    assert all(isinstance(hop, Hop) for hop in hops)
    return found, hops, report


def test_a_small_ship_is_found_in_the_file_and_not_in_the_overview_nor_in_parts_of_it(here, seer):
    draw(here, (150, 40))
    assert ask(SHIP)[0].text == "no"
    assert ask(SHIP, zoom="paper")[0].text == "no"
    found, hops, _ = ask(SHIP, zoom="auto")
    assert (found.text, found.question) == ("yes", SHIP)
    assert found.score > 0.9
    *_, last = [hop for hop in hops if hop.label == "decided"]
    x1, y1, x2, y2 = last.box_px
    assert x1 <= 150 < 154 <= x2
    assert y1 <= 40 < 44 <= y2
    assert x2 - x1 <= 48
    assert {hop.read_from for hop in hops} == {"file"}


def test_the_decided_hops_are_a_path_of_windows_within_each_other(here, seer):
    draw(here, (150, 40))
    _, hops, _ = ask(SHIP, zoom="auto")
    path = [hop.box_px for hop in hops if hop.label == "decided"]
    assert len(path) == 3  # 256 -> 128 -> 64 -> 32 px
    for outer, inner in pairwise(path):
        # Each window is shown with an eighth of its side around it, so the inner one may reach a little further.
        assert min(inner[0] - outer[0], inner[1] - outer[1], outer[2] - inner[2], outer[3] - inner[3]) >= -4
    assert [hop.step for hop in hops] == list(range(1, len(hops) + 1))


def test_a_no_is_certain_when_most_of_the_scene_was_seen_closely(here, seer):
    draw(here)
    found, hops, _ = ask(SHIP, zoom="auto")
    assert found.text == "no"
    assert 0.95 <= found.score < 0.97
    # Each split puts four windows in the place of one.
    assert found.score_method == f"mean odds of {1 + 3 * len(hops) // 4} windows, by area"
    assert 4 + 16 + 24 < len(hops) < 4 + 16 + 64
    assert not [hop for hop in hops if hop.label == "decided"]
    assert found.cost.windows == 1 + len(hops)
    assert found.cost.tokens == seer.tokens_fed == 100 * found.cost.windows
    assert sum(hop.tokens for hop in hops) == 100 * len(hops)
    assert found.cost.seconds >= sum(hop.seconds for hop in hops)


def test_ships_are_counted_in_windows_that_do_not_overlap(here, seer):
    draw(here, *[(10 + 70 * k, 20 + 60 * k) for k in range(4)])
    assert ask(SHIPS)[0].text == "0"
    assert ask(SHIPS, zoom="paper")[0].text == "0"
    found, hops, _ = ask(SHIPS, zoom="auto")
    assert found.text == "4"
    assert found.score == pytest.approx(0.9**64)
    assert len([hop for hop in hops if hop.label == "decided" and hop.box_px[2] - hop.box_px[0] == 32]) == 4


def test_a_detail_is_answered_where_it_is_seen(here, seer):
    draw(here, (150, 40))
    assert ask("What colour is the hull?")[0].text == "grey"
    found, hops, _ = ask("What colour is the hull?", zoom="auto")
    assert found.text == "red"
    assert [hop.label for hop in hops].count("decided") == 3


@pytest.mark.parametrize("question", ["Is there a ship in the upper left?", "What kind of place is this?"])
def test_a_question_about_the_whole_is_asked_of_the_whole(here, seer, question):
    draw(here, (150, 40))
    assert ask(question, zoom="auto")[1] == []


def test_what_the_overview_shows_for_certain_is_not_looked_at_again(here, seer):
    write_geotiff(here / "red.tif", np.array([250, 20, 20], np.uint8)[:, None, None] * np.ones((3, 256, 256), np.uint8))
    found, hops, _ = ask("Is there any lava?", "red.tif", zoom="auto")
    assert (found.text, hops) == ("yes", [])


def test_a_small_scene_needs_no_closer_look(here, seer):
    draw(here, (20, 20), size=(40, 44))
    assert ask(SHIP, zoom="auto")[1] == []


@pytest.mark.parametrize(("budget", "most"), [({"max_hops": 9}, 9), ({"max_tokens": 1300}, 12), ({"max_hops": 0}, 0)])
def test_the_budget_ends_the_search(here, seer, budget, most):
    draw(here)
    found, hops, _ = ask(SHIP, zoom="auto", **budget)
    assert most - 4 < len(hops) <= most
    assert found.text == "no"
    assert found.cost.tokens <= budget.get("max_tokens", math.inf)


def test_progress_counts_windows_up_to_the_budget(here, seer):
    draw(here)
    steps = []
    pipeline.ask(["port.tif"], [SHIP], Settings(zoom="auto", max_hops=20), lambda done, of: steps.append((done, of)))
    assert steps == [(k, 20) for k in range(1, 21)]


def test_no_window_is_read_larger_than_a_few_pictures_of_the_model(here, seer):
    draw(here, size=(3000, 2000))
    ask(SHIP, zoom="auto", max_hops=30)
    assert max(max(shape[:2]) for shape in seer.shown[1:]) == 64


def test_a_class_that_is_taught_at_a_coarser_scale_ends_the_search_earlier(here, seer):
    # ship: 2 m (conftest.CLASSES); at 0.25 m that is 8 raster pixels, a window of 128.
    draw(here, name="fine.tif", transform=Affine(0.25, 0, 500_000, 0, -0.25, 5_000_000))
    _, hops, _ = ask(SHIP, "fine.tif", zoom="auto")
    assert len(hops) == 4
    assert [hop.model_gsd_m for hop in hops] == pytest.approx([2.25] * 4)


def test_a_count_ends_at_the_coarsest_scale_of_a_class_and_yes_or_no_at_the_middle(here, seer):
    # building: 0.2 to 1 m (conftest.CLASSES); at 0.1 m windows of 160 px for a count, of 72 px for yes or no.
    draw(here, name="fine.tif", transform=Affine(0.1, 0, 500_000, 0, -0.1, 5_000_000))
    _, hops, _ = ask("How many buildings are there?", "fine.tif", zoom="auto")
    assert [hop.model_gsd_m for hop in hops] == pytest.approx([0.8] * 4)
    _, hops, _ = ask("Is there a building?", "fine.tif", zoom="auto")
    assert min(hop.model_gsd_m for hop in hops) < 0.6


def test_a_count_whose_budget_ends_says_how_coarse_its_windows_are(here, seer, caplog):
    draw(here, (150, 40))
    ask(SHIPS, zoom="auto")
    ask(SHIP, zoom="auto", max_hops=4)
    assert not caplog.records
    ask(SHIPS, zoom="auto", max_hops=4)  # four windows of 128 px, where 32 px are two raster pixels a model pixel
    (record,) = caplog.records
    assert "in windows up to 4 times as coarse as suits it" in record.message


def test_parts_without_data_are_passed_over(here, seer):
    pixels = np.full((3, SIDE, SIDE), 90, np.uint8)
    pixels[:, :, 120:] = 0
    write_geotiff(here / "half.tif", pixels, nodata=0)
    found, hops, _ = ask(SHIPS, "half.tif", zoom="auto")
    assert found.text == "0"
    assert max(hop.box_px[0] for hop in hops) < 128
    assert len(hops) == 2 + 8 + 32


def test_a_window_of_the_raster_bounds_the_search(here, seer):
    draw(here, (150, 40))
    _, hops, report = ask(SHIP, zoom="auto", window="128,0,256,128")
    boxes = np.array([hop.box_px for hop in hops])
    assert boxes[:, 0].min() == 128
    assert boxes[:, 3].max() <= 128
    assert report.sources[0].window_px == (128, 0, 256, 128)
    assert report.sources[0].model_gsd_m == pytest.approx(8)


def test_the_next_question_finds_its_windows_encoded(here, seer, monkeypatch):
    draw(here, (150, 40))
    alone = [ask(question, zoom="auto")[0].text for question in (SHIP, "Are there any ships?")]
    n_shown = len(seer.shown) // 2
    seer.shown.clear()
    report = pipeline.ask(["port.tif"], [SHIP, "Are there any ships?"], Settings(zoom="auto"))
    assert [result.text for result in report.results if isinstance(result, Answer)] == alone == ["yes", "yes"]
    assert len(seer.shown) == n_shown
    monkeypatch.setattr(look, "KEPT_BYTES", 0)
    seer.shown.clear()
    pipeline.ask(["port.tif"], [SHIP, "Are there any ships?"], Settings(zoom="auto"))
    assert len(seer.shown) == 2 * n_shown - 1  # the overview


def test_a_window_is_asked_in_all_symmetries_whenever_it_is_asked_and_a_count_upright(here, seer):
    draw(here, (150, 40))
    alone = ask(SHIP, zoom="auto", tta=4)
    assert len(seer.shown) == 4 * alone[0].cost.windows
    assert alone[0].cost.tokens == 400 * alone[0].cost.windows
    report = pipeline.ask(["port.tif"], [SHIPS, SHIP, SHIP], Settings(zoom="auto", tta=4))
    counted, *again = (result for result in report.results if isinstance(result, Answer))
    assert [(found.text, found.cost.tokens) for found in again] == [(alone[0].text, alone[0].cost.tokens)] * 2
    assert counted.cost.tokens == 100 * counted.cost.windows


def test_two_dates_are_looked_at_together(here, seer):
    draw(here, name="a.tif")
    draw(here, (150, 40), name="b.tif")
    report = pipeline.ask(["a.tif", "b.tif"], ["Has anything changed?"], Settings(zoom="auto"))
    assert report.results[0].text == "yes"
    assert len(seer.shown) == 2 * report.results[0].cost.windows


# --- windows that are read cell by cell -----------------------------------------------------------------------------


class Reader(Seer):
    """It sees the cell where a ship's middle is, and reaches from there to its sides; yes and no it guesses."""

    def score(self, features, prompt, expert, candidates):
        self.tokens_fed += 100
        return [math.log(0.5), math.log(0.5)]

    def read(self, features, prompt, expert, spots, choices, n):
        self.tokens_fed += 100
        assert "[VG] Where is the " in prompt
        red = self.red(features).clip(min=0)
        x, y = ((red.sum(axis=axis) * (np.arange(16) + 0.5)).sum() / (red.sum() + 1e-9) / 16 for axis in (0, 1))
        grid = 2 * math.isqrt(len(spots))
        row, column = (int(v * grid) for v in (y, x))
        if tuple(choices) == REACHES:
            reach = reach_of((x - 0.1, y - 0.1, x + 0.1, y + 0.1), row, column, grid)
            return np.eye(len(choices))[reach.round().astype(int)]
        cells = np.zeros((grid, grid), np.int8)
        cells[row, column] = red.max() > 60
        shares = np.full((n, len(choices)), 1e-5)
        shares[np.arange(n), blocks_of(cells)] = 1
        return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture
def reader(monkeypatch, fake_engine):
    engine = Reader(fake_engine().bundle)
    engine.bundle = replace(engine.bundle, manifest=replace(engine.bundle.manifest, dialect=NANO.to_json()))
    monkeypatch.setattr(scene, "open_engine", lambda *_: engine)
    return engine


def test_a_class_that_detect_knows_is_looked_for_by_cells(here, reader):
    draw(here, (150, 40))
    assert ask(SHIP)[0].score == 0.5
    found, hops, _ = ask(SHIP, zoom="auto")
    assert found.text == "yes"
    assert found.score > 0.9
    *_, last = [hop for hop in hops if hop.label == "decided"]
    assert (last.answer, last.score_method) == ("yes", "odds of the most probable cell")
    x1, y1, x2, y2 = last.box_px
    assert x1 <= 150 < 154 <= x2
    assert y1 <= 40 < 44 <= y2
    draw(here, name="empty.tif")
    found, hops, _ = ask(SHIP, "empty.tif", zoom="auto")
    assert (found.text, {hop.answer for hop in hops}) == ("no", {"no"})


def test_cells_lead_the_search_to_the_ship_within_a_small_budget(here, reader):
    # Of 64 windows at the end, the ship is in one; its way there is 3 times 4 windows.
    draw(here, (150, 40))
    found, hops, _ = ask(SHIP, zoom="auto", max_hops=24)
    assert found.text == "yes"
    assert min(hop.box_px[2] - hop.box_px[0] for hop in hops if hop.label == "decided") <= 48


def test_windows_of_cells_are_no_finer_than_the_middle_of_what_a_class_was_taught_at(here, reader):
    # building: 0.2 to 1 m (conftest.CLASSES), the middle 0.45 m; quarters of 128 px would show 0.4 m a pixel.
    draw(here, name="fine.tif", transform=Affine(0.1, 0, 500_000, 0, -0.1, 5_000_000))
    _, hops, _ = ask("Is there a building?", "fine.tif", zoom="auto")
    assert [hop.model_gsd_m for hop in hops] == pytest.approx([0.8] * 4)


def test_what_is_counted_is_boxes_and_one_on_a_seam_counts_once(here, reader):
    ships = [(10, 20), (150, 140), (94, 200), (127, 63)]  # the last two on seams of windows of 32 px and of 128 px
    draw(here, *ships)
    found, hops, _ = ask(SHIPS, zoom="auto")
    assert (found.text, found.score, found.score_method) == ("4", None, "boxes of at least 0.2")
    assert found.cost.windows == 1 + len(hops) == 1 + 4 + 16 + 64


@pytest.mark.parametrize("question", ["Is there a red ship?", "Is there a ship near the pier?", "Is there a yacht?"])
def test_a_question_that_says_more_than_a_class_is_asked_as_it_stands(here, reader, question):
    draw(here, (150, 40))
    _, hops, _ = ask(question, zoom="auto", max_hops=4)
    assert {hop.score for hop in hops} == {0.5}


def test_windows_are_read_in_all_symmetries_of_a_class(here, reader):
    draw(here, (150, 40))
    found, _, _ = ask(SHIPS, zoom="auto", tta=2, max_hops=4)
    assert len(reader.shown) == 2 * found.cost.windows


# --- the chain --------------------------------------------------------------------------------------------------------


@pytest.fixture
def caller(fake_engine, as_rscovlm):
    """An engine of RSCoVLM's family that sees pictures of 112 px."""
    return lambda *replies: as_rscovlm(fake_engine(*replies), (112, 112))


def calls(*box):
    return format_call(tuple(v / 112 for v in box), (112, 112))


YES, HARDLY = [-0.01, -4.6], [-0.7, -0.69]


def test_the_region_that_the_model_names_is_read_from_the_file_and_shown_beside_the_overview(here, caller):
    draw(here, (1000, 700), size=(1120, 1120))
    engine = caller(HARDLY, calls(84, 56, 112, 84), YES)
    found, (hop,), _ = ask("Is the ship red?", zoom="auto")
    assert (found.text, hop.label, hop.answer) == ("yes", "decided", "yes")
    assert hop.box_px == (840, 560, 1120, 840)
    assert hop.model_gsd_m == pytest.approx(2.5)
    overview, closer = engine.calls[2]["features"]
    assert closer.shape == (280, 280, 3)
    assert overview.shape == (1120, 1120, 3)
    assert (closer[140:144, 160:164, 0] == 250).all()
    assert engine.calls[2]["prompt"].startswith(engine.calls[1]["prompt"] + calls(84, 56, 112, 84))


def test_the_chain_goes_on_until_it_is_certain_or_at_the_file_s_resolution(here, caller):
    draw(here, size=(1120, 1120))
    half = calls(0, 0, 56, 56)
    caller(HARDLY, half, HARDLY, calls(56, 56, 112, 112), HARDLY, half, HARDLY, half, HARDLY, "never asked for")
    _, hops, _ = ask(SHIP, zoom="auto")
    sides = [560, 280, 140, 70]  # the model's picture has 112 px
    assert [hop.box_px[2] - hop.box_px[0] for hop in hops] == sides
    assert [hop.box_px[:2] for hop in hops] == [(0, 0), (280, 280), (280, 280), (280, 280)]
    caller(YES)
    assert ask(SHIP, zoom="auto")[1] == []
    caller(HARDLY, calls(0, 0, 56, 56), YES)
    assert len(ask(SHIP, zoom="auto")[1]) == 1
    caller(HARDLY, calls(0, 0, 56, 56), HARDLY)
    assert len(ask(SHIP, zoom="auto", max_hops=1)[1]) == 1


def test_paper_takes_one_round_on_the_shrunken_overview(here, caller):
    draw(here, (1000, 700), size=(1120, 1120))
    engine = caller(calls(84, 56, 112, 84), HARDLY)
    found, (hop,), _ = ask(SHIP, zoom="paper")
    assert (found.text, hop.read_from, hop.label) == ("no", "overview", "decided")
    assert engine.calls[1]["features"][1].shape == (28, 28, 3)
    assert hop.box_px == (840, 560, 1120, 840)


def test_a_region_that_is_the_whole_ends_the_chain_and_a_cut_call_is_said(here, caller):
    draw(here, size=(1120, 1120))
    caller(HARDLY, calls(0, 0, 112, 112))
    assert ask(SHIP, zoom="auto")[1] == []
    caller(calls(0, 0, 112, 112), HARDLY)
    assert ask(SHIP, zoom="paper")[0].text == "no"
    caller(HARDLY, FakeReply(spell("<tool_call>").steps, finish="length"))
    with pytest.raises(ReplyTruncated, match="tool call was cut"):
        ask(SHIP, zoom="auto")


def test_counts_are_summed_by_windows_in_a_family_that_calls_tools_too(here, caller):
    draw(here, size=(448, 448))
    engine = caller("3", "1", "0", "2", "4")
    assert ask(SHIPS, zoom="auto")[0].text == "7"
    assert not any("tool_call" in call["prompt"] for call in engine.calls)


def test_a_real_engine_decodes_the_call_under_its_grammar(here, tmp_path):
    folder = tmp_path / "caller"
    bundle = make_bundle(folder, size=BundleSize(max_context=4096))
    write_manifest(folder, replace(bundle.manifest, dialect=replace(NANO, zoom=ZoomStyle.TOOL_CALL).to_json()))
    draw(here, size=(600, 600))
    found, hops, report = ask("Is it?", zoom="auto", model=str(folder))
    assert found.text in ("yes", "no")
    assert found.cost.tokens > read_bundle(folder).manifest.image.tokens
    assert len(hops) <= 1  # pictures of 16 px: the least region is all of it
    assert not report.truncated


# --- what a user sees -------------------------------------------------------------------------------------------------


def test_every_hop_is_in_the_report_with_its_place_and_drawn(run, seer, here):
    draw(here, (150, 40))
    done = run("ask", "port.tif", SHIP, "--zoom", "auto", "--json", "--preview", "looked.png")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    first, *hops = document["results"]
    assert first["cost"] == {
        "windows": 1 + len(hops),
        "tokens": 100 * (1 + len(hops)),
        "seconds": first["cost"]["seconds"],
    }
    assert {hop["kind"] for hop in hops} == {"hop"}
    x1, y1, x2, y2 = hops[-1]["box_px"]
    assert hops[-1]["ring_crs"][0] == [500_000 + x1, 5_000_000 - y1]
    assert hops[-1]["ring_crs"][2] == [500_000 + x2, 5_000_000 - y2]
    assert hops[-1]["ring_lonlat"]
    with Image.open("looked.png") as drawn:
        plain = np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0)
    run("ask", "port.tif", SHIP, "--preview", "off.png")
    with Image.open("off.png") as drawn:
        assert len(plain) > len(np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0))


def test_stdout_carries_the_answer_alone(run, seer, here):
    draw(here, (150, 40))
    said = run("-v", "ask", "port.tif", SHIP, SHIPS, "--zoom", "auto")
    assert said.stdout == "yes\n1\n"
    assert "note: looked at 85 windows: 8500 tokens" in said.stderr
    assert re.search(r"the model saw 1 window of .*; \d+ closer, down to 2 m a pixel", said.stderr)
    done = run("ask", "port.tif", SHIP, "--zoom", "auto", "--out", "hops.geojson")
    assert done.stdout == "yes\n"
    properties = [feature["properties"] for feature in json.loads((here / "hops.geojson").read_text())["features"]]
    assert {row["label"] for row in properties[1:]} == {"decided", "looked"}
    assert properties[0]["text"] == "yes"
    assert {row["text"] for row in properties[1:]} == {"yes", "no"}

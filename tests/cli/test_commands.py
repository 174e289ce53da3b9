"""Every command on a real engine with random weights: the roads and the forms are true, the words are noise."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from jsonschema import Draft202012Validator
from PIL import Image

from rsvlm_cli.geo.raster import open_raster
from rsvlm_cli.output import deliver
from rsvlm_cli.output.document import dump
from rsvlm_cli.runtime.bundle import read_bundle, write_manifest
from tests.factories import draw_scene, write_geotiff, write_rpcs, write_slope

TASKS = {
    "ask": ("ask", "scene.tif", "Is there water?", "How many ships are there?"),
    "caption": ("caption", "scene.tif"),
    "classify": ("classify", "scene.tif", "--labels", "urban,forest"),
    "ground": ("ground", "scene.tif", "-p", "ship", "-p", "building"),
    "detect": ("detect", "scene.tif", "--classes", "ship,building", "--tile", "256", "--min-score", "0"),
    "describe": ("describe", "scene.tif", "--box", "100,120,180,200"),
    "segment": ("segment", "scene.tif", "--label", "water,building", "--tile", "300"),
    "detect-change": ("detect-change", "before.tif", "after.tif", "--label", "building", "--tile", "whole"),
    "describe-change": ("describe-change", "before.tif", "after.tif"),
}
OTHERS = (
    ("info", "scene.tif"),
    ("models", "list"),
    ("models", "show"),
    ("models", "verify"),
    ("doctor",),
    ("schema",),
    ("demo", "--out", "demo"),
)  # fmt: skip


@pytest.fixture
def report(run):
    """Run a task with ``--json`` and return its report; noise may run out of budget, which is exit 5."""

    def take(*arguments: str, stdin: str | None = None) -> dict:
        done = run(*arguments, "--json", stdin=stdin)
        assert done.exit_code in (0, 5), done.stderr
        return json.loads(done.stdout)

    return take


@pytest.fixture(scope="module")
def validator():
    from rsvlm_cli.output.schema import build_schema

    Draft202012Validator.check_schema(build_schema())
    return Draft202012Validator(build_schema())


@pytest.mark.parametrize("task", TASKS)
def test_each_task_prints_a_report_of_the_schema(report, validator, task):
    document = report(*TASKS[task])
    validator.validate(document)
    assert document["task"] == task
    assert document["model"][0] == "noise"
    assert len(document["sources"]) == (2 if "change" in task else 1)
    assert document["sources"][0]["crs"] == "EPSG:32633"
    assert document["sources"][0]["model_px"] == [16, 16]
    assert document["sources"][0]["model_gsd_m"] > 1
    assert {"open raster", "read", "encode", "decode"} <= document["seconds"].keys()


@pytest.mark.parametrize("change", [{"task": 3}, {"model": ["a"]}, {"results": [{"kind": "box"}]}, {"more": 1}])
def test_the_schema_refuses_what_is_no_report(report, validator, change):
    assert not validator.is_valid(report(*TASKS["caption"]) | change)


def test_the_schema_command_prints_the_schema(run, validator):
    assert json.loads(run("schema").stdout) == validator.schema


@pytest.mark.parametrize("arguments", [*TASKS.values(), *OTHERS], ids=lambda arguments: " ".join(arguments[:2]))
def test_every_command_runs_as_a_process_without_network(rsvlm, offline_env, bundle_path, arguments, monkeypatch):
    monkeypatch.setitem(offline_env, "RSVLM_HOME", str(bundle_path.parent.parent))
    monkeypatch.setitem(offline_env, "RSVLM_MODEL", "noise")
    done = rsvlm(*arguments)
    assert done.returncode in (0, 5), done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 0 and arguments[0] not in ("ground", "detect"):
        assert done.stdout


def test_indented_json_keeps_strings_to_the_letter():
    document = {"a": ["two  spaces", "[ \n 1 ]"], "b": [[1.5, 2], []], "c": ["x  y", "z"]}
    assert json.loads(dump(document, indent=1)) == document
    assert "[ 1.5, 2 ]" in dump(document, indent=1)


def test_text_for_several_rasters_names_each(run):
    done = run("ask", "before.tif", "after.tif", "-q", "Is there water?")
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == ["before.tif", "after.tif"]


def test_one_broken_raster_does_not_take_the_others(run, scenes):
    (scenes / "broken.tif").write_bytes(b"II*\0nothing")
    done = run("ask", "before.tif", "broken.tif", "after.tif", "-q", "Is there water?", "--jsonl")
    assert done.exit_code == 6
    assert [json.loads(line)["sources"][0]["path"] for line in done.stdout.splitlines()] == ["before.tif", "after.tif"]
    assert "error: broken.tif" in done.stderr
    assert "error: 1 of 3 rasters failed" in done.stderr


def test_questions_come_from_stdin_one_a_line(run, report):
    done = run("ask", "scene.tif", stdin="Is there water?\n\nAre there ships?\n")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 2
    assert set(done.stdout.split()) <= {"yes", "no"}
    document = report("ask", "scene.tif", stdin="Is there water?\nAre there ships?\n")
    assert [answer["question"] for answer in document["results"]] == ["Is there water?", "Are there ships?"]
    assert [answer["text"] for answer in document["results"]] == done.stdout.split()


def test_no_question_at_all_is_a_usage_error(run):
    done = run("ask", "scene.tif", stdin="")
    assert done.exit_code == 2
    assert "found no question" in done.stderr


@pytest.mark.parametrize(("likelihoods", "code"), [([-1.0, -2.0], 0), ([-2.0, -1.0], 10)])
def test_under_test_the_exit_code_is_the_answer(run, fake_engine, likelihoods, code):
    fake_engine(likelihoods)
    done = run("ask", "scene.tif", "Is there water?", "--test")
    assert done.exit_code == code
    assert done.stdout == ("yes\n" if code == 0 else "no\n")


def test_a_series_is_described_from_date_to_date(run, fake_engine):
    fake_engine("two roofs more", "nothing")
    done = run("describe-change", "before.tif", "after.tif", "scene.tif", "--dates", "2019-05,2021,2024")
    assert done.stdout == "2019-05\t2021\ttwo roofs more\n2021\t2024\tnothing\n"


def test_a_series_is_a_report_of_the_schema_with_its_dates(report, validator):
    document = report(
        "detect-change", "before.tif", "after.tif", "scene.tif", "-l", "building", "--dates", "2019,2020,2021"
    )
    validator.validate(document)
    assert [source["date"] for source in document["sources"]] == ["2019", "2020", "2021"]
    assert [source["alignment"] is None for source in document["sources"]] == [True, False, False]
    assert [result["pair"] for result in document["results"]] == [[0, 1], [1, 2]]
    assert document["results"][0]["cover"][0]["n_patches"] >= 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("scene.tif",), "found 1 raster, wanted two or more"),
        (("before.tif", "after.tif", "--dates", "2019"), "wanted one for each of 2 rasters"),
        (("before.tif", "after.tif", "scene.tif", "--out", "c.tif"), "holds one mask, found 3 dates"),
    ],
)
def test_dates_that_do_not_fit_are_a_usage_error(run, arguments, said):
    done = run("detect-change", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_preview_of_coregistered_dates_shows_them_as_the_model_saw_them(run, scenes):
    scene = draw_scene((512, 512), buildings=6)
    write_geotiff(scenes / "moved.tif", np.roll(scene, (5, 9), axis=(1, 2)))
    done = run("detect-change", "scene.tif", "moved.tif", "-l", "building", "--tile", "whole", "--coregister",
               "--preview", "p.png")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "moved.tif: lay 10.3 px (10.3 m) from scene.tif" in done.stderr
    sheet = np.asarray(Image.open("p.png").convert("RGB")).astype(int)
    left, right = sheet[60:480, 30:480], sheet[60:480, 550:1000]
    assert left.shape == right.shape
    assert sheet.shape[1] > 1000


def test_a_question_about_two_dates_sees_both(run, fake_engine):
    engine = fake_engine([-1.0, -2.0])
    assert run("ask", "before.tif", "--after", "after.tif", "Has anything changed?").exit_code == 0
    assert engine.calls[0]["prompt"].count("<image>") == 2
    assert len(engine.calls[0]["features"]) == 2


def test_a_raster_is_encoded_once_for_all_questions(run, fake_engine):
    engine = fake_engine([-1.0, -2.0], "7", "a port")
    done = run("ask", "scene.tif", "Is there water?", "How many ships are there?", "What is this?")
    assert done.stdout == "yes\n7\na port\n"
    assert engine.n_encoded == 1


def test_class_probabilities_are_ranked_and_sum_to_one(report):
    (scores,) = report("classify", "scene.tif", "--labels", "urban,forest,water")["results"]
    assert sum(scores["probabilities"]) == pytest.approx(1)
    assert scores["probabilities"] == sorted(scores["probabilities"], reverse=True)
    assert set(scores["labels"]) == {"urban", "forest", "water"}


def test_without_labels_the_bundle_s_own_classes_are_used(report):
    (scores,) = report("classify", "scene.tif")["results"]
    assert set(scores["labels"]) == {"urban", "farmland", "forest"}


def test_a_label_the_model_was_not_taught_is_said(run):
    assert "noise was not taught lake" in run("segment", "scene.tif", "--label", "lake", "--tile", "whole").stderr


def test_a_window_is_all_the_model_sees(report, fake_engine):
    engine = fake_engine([-1.0, -2.0])
    document = report("ask", "scene.tif", "Is there water?", "--window", "64,32,192,96")
    assert document["sources"][0]["window_px"] == [64, 32, 192, 96]
    (picture,) = engine.calls[0]["features"]
    with rasterio.open("scene.tif") as dataset:
        np.testing.assert_array_equal(picture, np.moveaxis(dataset.read()[:, 32:96, 64:192], 0, -1))


def test_a_described_region_may_be_given_in_pixels_map_or_degrees(report):
    regions = [
        ("--box", "100,120,180,200"),
        ("--bbox", "500100,4999800,500180,4999880"),
        ("--box", "map:500100,4999800,500180,4999880"),
    ]
    boxes = [report("describe", "scene.tif", *region)["results"][1]["box_px"] for region in regions]
    np.testing.assert_allclose(boxes, [[100, 120, 180, 200]] * 3, atol=1e-6)


def test_a_terrain_model_places_the_scene_and_the_pictures_of_it(run, report, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(deliver, "open_raster", lambda path, **how: drawn.append(how) or open_raster(path, **how))
    scene, dem = write_rpcs(tmp_path / "a.tif", draw_scene((300, 240))), write_slope(tmp_path / "dem.tif")
    said = report("caption", scene, "--dem", dem, "--max-tokens", "2", "--preview", tmp_path / "a.png")
    assert f"its RPCs on the heights of {dem}" in said["sources"][0]["placed_by"]
    assert [how["dem"] for how in drawn] == [str(dem)]
    assert f"placed_by: its RPCs on the heights of {dem}" in run("info", scene, "--dem", dem).stdout
    refused = run("caption", scene, "--dem", "nowhere.tif")
    assert refused.exit_code == 3
    assert "nowhere.tif: no such file" in refused.stderr


def test_info_tells_place_bands_and_stretch(run, scenes):
    write_geotiff(scenes / "deep.tif", draw_scene((64, 64)).astype(np.uint16) * 100)
    text = run("info", "deep.tif").stdout
    assert "crs: EPSG:32633" in text
    assert "stretch: 2-98 % of valid pixels" in text
    facts = json.loads(run("info", "deep.tif", "--json").stdout)
    assert (facts["width_px"], facts["dtype"], facts["gsd_m"]) == (64, "uint16", 1.0)


def test_models_are_listed_shown_and_verified(run, bundle_path, monkeypatch):
    monkeypatch.setenv("RSVLM_HOME", str(bundle_path.parent.parent))
    assert f"noise\t{bundle_path}" in run("models", "list").stdout.splitlines()
    assert "licence: CC0-1.0" in run("models", "show", "noise").stdout
    assert json.loads(run("models", "show", "noise", "--json").stdout)["decoder"]["experts"] == 3
    assert run("models", "verify", "noise").stdout.endswith("files are whole\n")


def test_the_doctor_names_what_matters_and_fails_with_the_model(run):
    facts = json.loads(run("doctor", "--json").stdout)
    assert facts["packages"]["rasterio"] == rasterio.__version__
    assert facts["gdal"] == rasterio.__gdal_version__
    assert facts["native_operators"]
    assert facts["model"] == "noise is whole"
    done = run("doctor", "--model", "absent")
    assert done.exit_code == 4
    assert "python: " in done.stdout


def test_the_demo_names_the_files_it_wrote_and_they_open(run, scenes):
    done = run("demo", "--out", "demo")
    assert done.exit_code == 0, done.stderr
    written = [line.strip() for line in done.stdout.partition("written:\n")[2].splitlines()]
    assert sorted(written) == sorted(f"demo/{path.name}" for path in (scenes / "demo").iterdir())
    with rasterio.open("demo/change.tif") as change, rasterio.open("demo/before.tif") as before:
        assert change.crs == before.crs
        np.testing.assert_allclose(change.bounds, before.bounds)
    with rasterio.open("demo/before.tif") as before, rasterio.open("demo/after.tif") as after:
        assert (before.read() != after.read()).any(axis=0).mean() < 0.2
    assert Image.open("demo/change.png").width > 1000
    assert run("demo", "--out", "demo").exit_code == 3
    assert run("demo", "--out", "demo", "--overwrite").exit_code == 0


def test_a_task_that_the_card_calls_not_learnt_is_said_with_every_reply(run, bundle_path, tmp_path, monkeypatch):
    folder = shutil.copytree(bundle_path, tmp_path / "honest")
    bundle = read_bundle(folder)
    write_manifest(folder, replace(bundle.manifest, name="honest", quality={"not_learnt": ["caption"]}))
    monkeypatch.setenv("RSVLM_MODEL", str(folder))
    assert "honest has not learnt caption" in run("caption", "scene.tif").stderr
    assert "not learnt" not in run("classify", "scene.tif").stderr

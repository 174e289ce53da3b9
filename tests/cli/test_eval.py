"""``rsvlm eval``: on raw data sets, by the users' road; who knows the truth scores all, who says nothing nothing."""

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsvlm_cli import pipeline
from rsvlm_cli.commands import detect, detect_change, ground, segment
from rsvlm_cli.errors import ReplyMalformed
from rsvlm_cli.results import Answer, Box, ClassScores, Mask, Report, Source
from rsvlm_cli.runtime.bundle import read_bundle
from rsvlm_cli.settings import Settings
from tests.train.published_sets import half, set_folder, write_image, write_json, write_pixels, write_text
from train.data.records import Record, read_records
from train.evaluate.bench import COMMAND_DEFAULTS, Defaults
from train.evaluate.fit import equal_errors, fit_thresholds
from train.evaluate.suite import Suite

SUITE = Path(__file__).parents[2] / "benchmarks" / "suites" / "shared-data.toml"
COLOURS = {"Building": "#010203", "Land (unpaved area)": "#0A0B0C", "Road": "#101112", "Vegetation": "#202122"}
RGB = [(1, 2, 3), (10, 11, 12), (16, 17, 18), (32, 33, 34), (48, 49, 50), (155, 155, 155)]


def write_raw_data(root: Path) -> None:
    """Write every set of the suite as its publisher lays it out, a few images each, on both sides of the split."""
    folder = set_folder(root, "aid150-rsicd")
    names = [f"{name}/{name.lower()}_{n}.jpg" for name in ("Pond", "Port") for n in (1, 31, 101)]
    for name in names:
        write_image(folder / "images" / name, (32, 32))
    texts = ["a pond near a road", "a green pond lies in a wood", "a pond between two houses"]
    texts += ["ships lie in a port", "a big port with many boats", "some boats are in a port"]
    write_json(folder / "captions_rsicd.json", {n: {"raw": [text]} for n, text in zip(names, texts, strict=True)})

    folder, rows = set_folder(root, "buildings-openaerialmap"), []
    for x, boxes in enumerate(("[[20,20,80,90],[120,100,200,180]]", "[]", "[[40,30,90,90]]", "[]")):
        write_image(folder / f"images/s1_{x}_4_19.png", (256, 256))
        write_pixels(folder / f"masks/s1_{x}_4_19.png", half((256, 256)))
        rows.append(f's1_{x}_4_19.png,1,19,0,59.99,0,60.01,256,256,0,"{boxes}"')
    write_text(
        folder / "tiles_and_boxes.csv", "image,set,zoom,west,south,east,north,width,height,n,boxes_xyxy_px", *rows
    )

    folder = set_folder(root, "nwpu-vhr10")
    for name in ("005.jpg", "032.jpg", "107.jpg"):
        write_image(folder / "images" / name, (80, 60))
    found = [(1, 1, [10, 5, 30, 20]), (1, 2, [50, 30, 20, 20]), (2, 1, [30, 20, 32, 22]), (3, 2, [2, 3, 20, 30])]
    write_json(
        folder / "annotations_coco.json",
        {
            "categories": [{"id": 1, "name": "storage_tank"}, {"id": 2, "name": "ship"}],
            "images": [
                {"id": k, "file_name": name, "width": 80, "height": 60}
                for k, name in enumerate(("005.jpg", "032.jpg", "107.jpg"), start=1)
            ],
            "annotations": [
                {"image_id": i, "category_id": c, "bbox": box, "segmentation": [[0, 0, 9, 0, 9, 9]]}
                for i, c, box in found
            ],
        },
    )

    folder = set_folder(root, "dubai-landcover")
    write_json(folder / "mask_colours_actual.json", COLOURS | {"Water": "#303132"})
    for stem in ("Tile1_image_part_001", "Tile2_image_part_001", "Tile3_image_part_001"):
        write_image(folder / f"images/{stem}.jpg", (60, 30))
        write_pixels(folder / f"masks/{stem}.png", np.repeat(np.array([RGB], np.uint8), 10, axis=1).repeat(30, axis=0))
    folder = set_folder(root, "cil-roads")
    for n in (1, 31, 51):
        write_image(folder / f"images/satImage_{n:03}.jpg", (40, 40))
        write_pixels(folder / f"masks/satImage_{n:03}.png", half((40, 40)))

    band = np.full((40, 48, 3), 90, np.uint8)
    band[:10] = 200  # A difference in the wrong place, so that the baseline is neither nothing nor all.
    for city in ("rio", "bercy", "paris"):
        folder = set_folder(root, "oscd")
        write_image(folder / f"images/{city}/pair/img1.png", (48, 40))
        write_pixels(folder / f"images/{city}/pair/img2.png", band)
        write_pixels(folder / f"labels/{city}/cm/cm.png", half((48, 40)).astype(np.uint8) * 255)
    for site in ("Szada_1", "Tiszadob_1"):
        folder = set_folder(root, "sztaki-airchange") / site
        write_image(folder / "im1.jpg", (48, 40))
        write_image(folder / "im2.jpg", (48, 40))
        write_pixels(folder / "gt.png", half((48, 40)).astype(np.uint8) * 255)
    folder = set_folder(root, "cd-samples") / "levir-cd-256"
    for stem in ("test_1_0_0", "train_3_0_0"):
        for part in ("A", "B"):
            write_image(folder / part / f"{stem}.png", (32, 32))
        write_pixels(folder / "label" / f"{stem}.png", half((32, 32)))


@pytest.fixture
def data(scenes):
    write_raw_data(scenes / "data")
    return scenes / "data"


# --- who knows, who says nothing --------------------------------------------------------------------------------------


class Oracle:
    """Takes the pipeline's place and answers from the prepared records beside the image."""

    def __init__(self, monkeypatch):
        for name in ("classify", "caption", "ask", "detect", "segment", "detect_change"):
            monkeypatch.setattr(pipeline, name, getattr(self, name))

    def record(self, path) -> Record:
        folder, name = Path(path).parents[1], f"images/{Path(path).name}"
        self.folder = folder
        return next(record for record in read_records(folder) if name in record.images)

    def report(self, path, *results) -> Report:
        width, height = Image.open(path).size
        source = Source(
            path=path,
            width_px=width,
            height_px=height,
            window_px=(0, 0, width, height),
            crs=None,
            transform=None,
            gsd_m=None,
            model_px=(24, 24),
            model_gsd_m=None,
            bands=(),
            bands_by="position",
            stretch="none",
            valid_frac=1.0,
        )
        return Report(task="", model=("oracle", ""), sources=(source,), results=results)

    def classify(self, path, labels, settings):
        return self.report(path, ClassScores(labels=(self.record(path).scene,), probabilities=(1.0,), score_method=""))

    def caption(self, path, settings):
        return self.report(path, Answer(text=self.record(path).captions[0]))

    def ask(self, paths, questions, settings):
        record, (question,) = self.record(paths[0]), questions
        labels = [item.label for item in record.objects]
        asked = next(label for label in record.complete if label in question)
        text = str(labels.count(asked)) if "How many" in question else ("yes" if asked in labels else "no")
        return self.report(paths[0], Answer(text=text, score=0.9))

    def detect(self, task, path, phrases, settings):
        found = [item for item in self.record(path).objects if item.label in phrases]
        return self.report(path, *(Box(label=item.label, box_px=item.box_px, score=0.9) for item in found))

    def mask(self, path, labels):
        record = self.record(path)
        cells = np.asarray(Image.open(self.folder / record.mask))
        height, width = cells.shape
        p = np.where(cells == 0, 0.0, 0.9).astype(np.float32)
        return Mask(labels=labels, cells=cells, area_px=(0, 0, width, height), probability=p)

    def segment(self, path, labels, settings):
        return self.report(path, self.mask(path, labels))

    def detect_change(self, paths, labels, settings):
        return self.report(paths[0], self.mask(paths[0], labels))


class Silence(Oracle):
    """Finds nothing and says nothing, but in the right form."""

    def classify(self, path, labels, settings):
        return self.report(path, ClassScores(labels=("desert",), probabilities=(1.0,), score_method=""))

    def caption(self, path, settings):
        return self.report(path, Answer(text=""))

    def ask(self, paths, questions, settings):
        return self.report(paths[0], Answer(text=""))

    def detect(self, task, path, phrases, settings):
        return self.report(path)

    def mask(self, path, labels):
        return Mask(labels=labels, cells=np.zeros((2, 2), np.uint8), area_px=(0, 0, 9, 9))


def evaluate(run, *more, code=0):
    done = run("eval", SUITE, "--root", "data", "--json", "scores.json", "--overwrite", *more)
    assert done.exit_code == code, done.stderr
    return json.loads(Path("scores.json").read_text()), done


def test_who_knows_the_truth_reaches_every_aim(run, data, monkeypatch):
    Oracle(monkeypatch)
    found, done = evaluate(run, "--split", "all")
    assert [row["reached"] for row in found["rows"]] == ["aim"] * 9
    assert [row["scores"][0]["value"] for row in found["rows"]][:7] == [1, 1, 0, 1, 1, 1, 1]
    assert [row["scores"][0]["n"] for row in found["rows"]][:8] == [6, 8, 4, 3, 3, 3, 7, 6]
    detection = {score["metric"]: score["value"] for score in found["rows"][3]["scores"]}
    assert set(detection.values()) == {1}
    assert {"mAP, COCO", "mAP_nc", "acc@0.5", "mIoU of boxes", "precision at IoU 0.5"} <= set(detection)
    assert found["rows"][7]["scores"][0]["value"] > 4  # CIDEr-D
    assert found["quality"]["not_learnt"] == []
    assert found["replies"] == {"asked": 44, "broken": 0, "truncated": 0, "unreadable": 0}
    assert [(one["what"], one["n"], one["error"]) for one in found["calibration"]] == [
        ("scene class", 6, 0),
        ("yes or no", 8, pytest.approx(0.1)),
        ("boxes", 4, pytest.approx(0.1)),
    ]
    assert "| **roads (CIL)** | 3 | IoU | 1.000 | 1.000 to 1.000 | 0.500" in done.stdout


def test_who_says_nothing_has_learnt_nothing(run, data, monkeypatch):
    Silence(monkeypatch)
    found, _ = evaluate(run, "--split", "all")
    assert [row["scores"][0]["value"] for row in found["rows"]] == [0, 0, 0.75, 0, 0, 0, 0, 0, 0]
    assert [row["reached"] for row in found["rows"]] == ["no"] * 8 + ["aim"]
    tasks = ["classify", "ask", "ground", "detect", "segment", "detect-change", "caption"]
    assert sorted(found["quality"]["not_learnt"]) == sorted(tasks)


def test_a_reply_that_breaks_its_grammar_is_counted_and_wrong(run, data, monkeypatch):
    oracle = Oracle(monkeypatch)

    def broken(path, settings):
        raise ReplyMalformed("reply is no caption: 'x'", "x")

    def outside(task, path, phrases, settings):
        report = oracle.report(path, Box(label=phrases[0], box_px=(0, 0, 81, 60), score=0.5))
        return replace(report, task=task)

    monkeypatch.setattr(pipeline, "caption", broken)
    monkeypatch.setattr(pipeline, "detect", outside)
    found, _ = evaluate(run, "--split", "all")
    assert found["replies"]["broken"] == 6 + 3 + 4
    last = found["rows"][-1]
    assert last["reached"] == "no"
    assert last["scores"][0]["value"] == pytest.approx(13 / 44, abs=1e-4)


def test_a_yes_is_wrong_as_often_as_a_no():
    there, gone = np.array([0.2, 0.5, 0.6, 0.9]), np.array([0.1, 0.1, 0.3, 0.55])
    at = equal_errors(there, gone)
    assert (there < at).mean() == (gone >= at).mean() == 0.25
    assert equal_errors(np.array([0.8, 0.9]), np.array([0.1])) == 0.8


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_real_model_is_scored_on_the_places_kept_from_training_and_stamped(run, data, bundle_path, monkeypatch):
    folder = data.parent / "noise"
    folder.mkdir()
    for path in bundle_path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("RSVLM_MODEL", str(folder))
    for name in ("oscd", "sztaki-airchange", "aid150-rsicd"):
        set_folder(data, name).rename(data / name)
    found, done = evaluate(run, "--limit", "1", "--fit", "train", "--stamp", code=6)
    assert found["split"] == "val"
    # Of the four building tiles none is on the val side.
    assert set(found["left_out"]) == {"oscd", "sztaki-airchange", "aid150-rsicd", "buildings-openaerialmap"}
    assert "warning: oscd is left out: no folder research-only/oscd" in done.stderr
    by_name = {row["name"]: row for row in found["rows"]}
    roads = by_name["roads (CIL)"]["scores"][0]
    assert (roads["n"], roads["data"], roads["drawn_by"], roads["baseline"]) == (1, ["cil-roads"], "image", 0.5)
    change = by_name["change masks, OSCD + SZTAKI + crops"]["scores"][0]
    assert (change["n"], change["data"]) == (1, ["cd-samples"])
    assert by_name["grounding / detection, NWPU VHR-10"]["scores"][0]["n"] == 1
    assert by_name["captions, RSICD on AID"]["scores"] == []
    assert found["replies"]["broken"] == 0
    quality = read_bundle(folder).manifest.quality
    assert quality == found["quality"]
    assert {score["task"] for score in quality["scores"]} >= {"segment"}
    assert all(0 <= quality["best_thresholds"][task] <= 1 for task in ("detect", "ground", "ask"))
    assert 0.01 <= quality["label_thresholds"]["count"]["building"] <= 1
    assert quality["label_thresholds"]["segment"].keys() == {"building", "unpaved land", "road", "vegetation", "water"}


def test_what_no_image_is_complete_in_has_no_threshold(data, scenes):
    rows = (("count", '["ship"]'), ("presence", '["ship"]'), ("count", '["building"]'))
    lines = [
        line
        for kind, labels in rows
        for line in (
            "[[row]]",
            f'name = "{kind}"',
            f'kind = "{kind}"',
            f"labels = {labels}",
            'sets = ["buildings-openaerialmap"]',
        )
    ]
    write_text(scenes / "suite.toml", 'name = "x"', *lines)
    found = fit_thresholds(Suite.from_toml(scenes / "suite.toml"), data, Settings(tta=1), "all", limit=2)
    assert found.boxes == {}
    assert found.labels["count"].keys() == {"building"}


def test_what_cannot_be_evaluated_is_one_line(run, data, scenes):
    write_text(scenes / "suite.toml", 'name = "x"', "[[row]]", 'name = "r"', 'kind = "scene"', 'sets = ["aids"]')
    (scenes / "scores.json").write_text("{}")
    for arguments, code, message in (
        (("eval", "suite.toml", "--root", "data"), 3, "row 'r': no set aids (known: buildings-openaerialmap"),
        (("eval", "absent.toml", "--root", "data"), 3, "absent.toml: No such file"),
        (("eval", SUITE, "--root", "absent"), 3, "absent: no set of the suite can be used: aid150-rsicd: no folder"),
        (("eval", SUITE, "--root", "data", "--json", "scores.json"), 3, "scores.json: exists already"),
        (("eval", SUITE, "--root", "data", "--bundle", "absent"), 4, "absent"),
    ):
        done = run(*arguments)
        assert done.exit_code == code, done.stderr
        assert message in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize("command", [detect.detect, ground.ground, segment.segment, detect_change.detect_change])
def test_commands_are_scored_as_they_are_without_flags(command):
    flags = {name: parameter.default for name, parameter in inspect.signature(command).parameters.items()}
    assert COMMAND_DEFAULTS[command.__name__.replace("_", "-")] == Defaults(flags["tile"])
    assert flags.get("min_score", flags.get("threshold")) is None

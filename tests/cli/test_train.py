"""``rsvlm train`` and ``rsvlm tune``: from prepared sets to a checkpoint, and to a bundle that answers."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import load_file

from export.unpack import WEIGHTS
from rsvlm_cli.runtime.bundle import find_bundle, read_bundle
from tests.train.recipes import TINY
from tests.train.tiny_sets import make_tiny_set

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that training imports


@pytest.fixture
def recipe(scenes):
    """A recipe of one step as a file, and its set, prepared."""
    make_tiny_set(scenes / "prepared/tiny")
    model = json.loads(json.dumps({"vision": asdict(TINY.vision), "decoder": asdict(TINY.decoder)}))
    lines = ['name = "tiny"', "seed = 1"]
    for part, values in model.items():
        lines += [f"[model.{part}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    lines += ["[data]", 'mix = ["tiny*2"]', "[[stage]]", 'name = "dense"', 'kind = "instruct"', "steps = 1"]
    lines += ["batch = 2", "lr = 1e-3", "dense = true", "heads_weight = 0.0", "warmup = 1"]
    (scenes / "tiny.toml").write_text("\n".join(lines))
    return scenes


def test_a_recipe_becomes_a_checkpoint_and_one_own_set_a_bundle(run, recipe):
    pytest.importorskip("peft")
    trained = run("-q", "train", "tiny.toml", "--out", "base", "--tensorboard")
    assert (trained.exit_code, trained.stdout) == (0, "base\n"), trained.stderr
    assert list((recipe / "base/tensorboard").iterdir())
    card = json.loads((recipe / "base/card.json").read_text())
    assert (card["name"], card["data"][0]["name"], card["data"][0]["records"]) == ("tiny", "tiny", 6)
    tuned = run("-q", "tune", "prepared", "--start", "base", "--out", "own", "--name", "harbour", "--steps", "1")
    assert tuned.exit_code == 0, tuned.stderr
    bundle = read_bundle(recipe / "own/bundle")
    assert bundle.manifest.name == "harbour"
    again = run("tune", "prepared", "--start", "base", "--out", "own")
    assert (again.exit_code, "--overwrite replaces it" in again.stderr) == (3, True)


def test_the_embedded_model_goes_on_learning_and_keeps_its_thresholds(run, recipe):
    pytest.importorskip("peft")
    tuned = run("-q", "tune", "prepared", "--out", "mine", "--steps", "2", "--lr", "1e-3")
    assert (tuned.exit_code, tuned.stdout) == (0, "mine/bundle\n"), tuned.stderr
    before, after = read_bundle(find_bundle("nano")), read_bundle(recipe / "mine/bundle")
    assert after.manifest.heads == before.manifest.heads
    known = before.manifest.quality
    assert after.manifest.quality == {k: known[k] for k in ("not_learnt", "best_thresholds", "label_thresholds")}
    was, now = (load_file(recipe / "mine" / name)["heads.centres.weight"] for name in (WEIGHTS, f"start/{WEIGHTS}"))
    assert 0 < float(np.abs(was - now).max()) < 0.02
    refused = run("-q", "tune", "prepared", "--out", "other", "--full")
    assert (refused.exit_code, "nano is a bundle" in refused.stderr) == (2, True)


def test_a_run_that_was_stopped_goes_on_and_another_does_not_take_it_for_its_own(run, recipe):
    pytest.importorskip("peft")
    assert run("-q", "train", "tiny.toml", "--out", "base").exit_code == 0
    call = ("tune", "prepared", "--start", "base", "--out", "own", "--steps", "3")
    stopped = run(*call, "--minutes", "1e-9")
    assert (stopped.exit_code, "the same command goes on" in stopped.stderr) == (0, True)
    for other, told in (
        (("--start", "nano"), r"\(start: base \w{12}\), wanted start: nano \w{12} \(name another --out"),
        (("--rank", "4"), r"\(learning: rank 16\), wanted learning: rank 4 "),
    ):
        refused = run("-q", *call, *other)
        assert (refused.exit_code, refused.stderr.count("\n")) == (3, 1)
        assert re.search(f"own: holds another run {told}", refused.stderr)
    went_on = run(*call)
    assert (went_on.exit_code, went_on.stdout) == (0, "own/bundle\n"), went_on.stderr
    assert "rsvlm eval SUITE.toml --root DATA --bundle own/bundle --fit val" in went_on.stderr
    steps = [json.loads(line)["step"] for line in (recipe / "own/log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    make_tiny_set(recipe / "prepared/more", seed=1)
    refused = run("-q", *call, "--overwrite")
    assert refused.exit_code == 3
    assert re.search(r"\(data: tiny \w{12}\), wanted data: more, tiny \w{12} ", refused.stderr)


@pytest.mark.parametrize("left", ["tokenizer.json", "start"])
def test_what_another_command_left_in_the_folder_is_no_run_to_go_on_from(run, recipe, left):
    (recipe / "own" / left).mkdir(parents=True)
    refused = run("-q", "tune", "prepared", "--out", "own")
    assert (refused.exit_code, "own: holds another run (start: unknown, " in refused.stderr) == (3, True)


def test_an_estimate_says_what_each_stage_needs(run, recipe):
    done = run("train", "tiny.toml", "--estimate", "--processes", "2")
    assert done.exit_code == 0, done.stderr
    assert "2 processes, GiB in each" in done.stdout
    assert "dense" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "gone", "--out", "o"), 3, "gone: no such recipe (wanted a TOML file, or one of nano"),
        (("train", "nano"), 2, "no --out, wanted a folder"),
        (("train", "nano", "--out", "o", "--data", "empty"), 3, "no prepared set under empty"),
        (("train", "rsunivlm", "--out", "o", "--data", "prepared"), 3, "no prepared set under prepared"),
        (("tune", "prepared", "--start", "gone", "--out", "o"), 4, "gone"),
        (("tune", "prepared", "--start", "g", "--out", "o", "--full", "--four-bit"), 2, "cannot be trained"),
    ],
)
def test_what_cannot_be_trained_is_one_line(run, recipe, arguments, code, message):
    done = run("-q", *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (recipe / "o").exists()

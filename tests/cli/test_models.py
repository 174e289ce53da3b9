"""``rsvlm models``: a model comes in, is carried on, and goes."""

import json

import pytest

from model.config import ModelConfig
from rsvlm_cli.commands import models as command
from tests.export.conftest import random_model
from tests.released import DECODER, VISION, write_released

MODEL = ModelConfig(vision=VISION, decoder=DECODER)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_released(tmp_path_factory.mktemp("released") / "RSUniVLM", random_model(MODEL))


@pytest.fixture
def home(tmp_path, run, monkeypatch):
    monkeypatch.setenv("RSVLM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RSVLM_MODEL")
    return tmp_path / "home" / "models"


def test_released_weights_come_in_answer_and_go(run, home, checkpoint):
    done = run("models", "import", checkpoint, "--accept-licence", "--profile", "int8")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"rsunivlm-1b\t{home / 'rsunivlm-1b'}\tint8\t")
    assert "licence: Apache-2.0" in done.stderr
    assert "arXiv:2412.05679" in done.stderr
    assert "rsunivlm-1b\t" in run("models", "list").stdout
    shown = run("models", "show", "rsunivlm-1b").stdout
    assert "repetition_penalty: 1.1" in shown
    assert "accepted how: --accept-licence" in shown
    assert run("models", "verify", "rsunivlm-1b").stdout == "rsunivlm-1b: 8 files are whole\n"
    asked = run("ask", "scene.tif", "Is there water?", "--model", "rsunivlm-1b", "--json")
    assert asked.exit_code == 0, asked.stderr
    assert json.loads(asked.stdout)["results"][0]["text"] in ("yes", "no")
    again = run("models", "import", checkpoint, "--accept-licence")
    assert again.exit_code == 3
    assert "--overwrite" in again.stderr
    assert run("models", "rm", "rsunivlm-1b").exit_code == 0
    assert run("models", "show", "rsunivlm-1b").exit_code == 4
    assert not list(home.iterdir())


def test_one_file_carries_a_model_to_another_machine(run, home, bundle_path, scenes, monkeypatch):
    done = run("models", "bundle", bundle_path, "--out", "noise.rsvlm")
    assert done.exit_code == 0, done.stderr
    assert "\tseal " in done.stdout
    assert run("models", "bundle", bundle_path, "--out", "noise.rsvlm").exit_code == 3
    done = run("models", "import", "noise.rsvlm", "--accept-licence", "--name", "other")
    assert done.exit_code == 0, done.stderr
    assert (home / "other" / "rsvlm.json").read_bytes() == (bundle_path / "rsvlm.json").read_bytes()
    assert run("models", "import", bundle_path, "--accept-licence").exit_code == 0  # a bundle folder too
    assert {path.name for path in home.iterdir()} == {"noise", "other"}

    content = bytearray((scenes / "noise.rsvlm").read_bytes())
    content[len(content) // 2] ^= 1
    (scenes / "noise.rsvlm").write_bytes(content)
    done = run("models", "import", "noise.rsvlm", "--accept-licence", "--name", "third")
    assert done.exit_code == 4
    assert "noise.rsvlm: altered" in done.stderr
    assert {path.name for path in home.iterdir()} == {"noise", "other"}


def test_terms_are_accepted_by_flag_or_by_a_person_and_never_in_silence(run, home, bundle_path, monkeypatch):
    done = run("models", "import", bundle_path)
    assert done.exit_code == 2
    assert "licence: CC0-1.0" in done.stderr
    assert "--accept-licence" in done.stderr.splitlines()[-1]
    assert run("models", "pull", "rsunivlm-1b").exit_code == 2  # before any socket
    monkeypatch.setattr(command, "_check_terminal", lambda what: None)
    done = run("models", "import", bundle_path, stdin="n\n")
    assert done.exit_code == 2
    assert "nothing was imported" in done.stderr
    assert not home.exists()
    assert run("models", "import", bundle_path, stdin="y\n").exit_code == 0
    assert json.loads((home / "noise" / ".accepted.json").read_text())["how"] == "terminal"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["models", "import", "absent"], 4, "no such file or folder"),
        (["models", "import", "scene.tif"], 4, "no bundle file"),
        (["models", "import", "."], 4, "no config.json"),
        (["models", "rm", "nano"], 4, "belongs to the installation"),
        (["models", "rm", "absent"], 4, "absent"),
        (["export", "CHECKPOINT", "out", "--tasks", "words"], 2, "--tasks words"),
        (["export", "CHECKPOINT", "out", "--block", "48"], 2, "block 48"),
        (["export", "CHECKPOINT", "."], 3, "--overwrite"),
        (["export", "absent", "out"], 4, "absent"),
    ],
)
def test_each_fault_of_a_model_is_one_line_and_its_code(run, home, checkpoint, arguments, code, says):
    done = run(*(str(checkpoint) if argument == "CHECKPOINT" else argument for argument in arguments))
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert not home.exists()


def test_a_bundle_of_some_tasks_says_in_one_line_what_it_was_not_made_for(run, home, checkpoint):
    done = run("export", checkpoint, "some", "--tasks", "image,region", "--profile", "int8")
    assert done.exit_code == 0, done.stderr
    assert run("ask", "scene.tif", "Is there water?", "--model", "some").exit_code == 0
    done = run("segment", "scene.tif", "--label", "water", "--model", "some")
    assert done.exit_code == 4
    assert "made for image and region tasks alone" in done.stderr
    assert "--tasks image,region,pixel" in done.stderr


def test_weights_become_a_checkpoint_to_train_from(run, home, checkpoint, scenes):
    done = run("models", "import", checkpoint, "--as-checkpoint", "start", "--accept-licence")
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in (scenes / "start").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "card.json",
        "dialect.json",
    }
    assert not home.exists()

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsvlm_cli.errors import BundleCorrupt, InputError, ReplyMalformed, RsvlmError
from rsvlm_cli.runtime.bundle import FORMAT
from tests.factories import draw_scene, write_geotiff


def write_png(path):
    Image.fromarray(np.moveaxis(draw_scene((64, 64)), 0, -1)).save(path)


HEAVY = ("torch", "transformers", "onnxruntime", "rasterio", "numpy", "tokenizers", "PIL")


def test_help_is_light(offline_env):
    program = (
        "import sys\nsys.argv = ['rsvlm', '--help']\nfrom rsvlm_cli.main import app\n"
        "try:\n    app(prog_name='rsvlm')\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\nassert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=offline_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "detect-change" in done.stdout


def test_help_takes_a_few_times_what_the_libraries_that_draw_it_take(offline_env):
    programs = (["-c", "import typer, rich.console, rich.panel, rich.table"], ["-m", "rsvlm_cli", "--help"])
    seconds = [[], []]
    for _ in range(3):
        for program, took in zip(programs, seconds, strict=True):
            start = time.perf_counter()
            subprocess.run([sys.executable, *program], env=offline_env, capture_output=True, check=True)
            took.append(time.perf_counter() - start)
    assert min(seconds[1]) < 5 * min(seconds[0])


def test_every_command_has_help_with_examples(run):
    from rsvlm_cli import commands

    names = [p.stem.replace("_", "-") for p in Path(commands.__path__[0]).glob("*.py") if p.stem != "__init__"]
    assert {"ask", "models", "export"} <= set(names)
    for name in names:
        shown = run(name, "--help")
        assert shown.exit_code == 0
        assert ("Examples:" in shown.stdout) or name in ("models", "data")
        assert f"rsvlm {name}" in shown.stdout


def test_without_arguments_the_help_is_shown(run):
    assert "Usage: rsvlm" in run().stdout
    assert run("--version").stdout.startswith("rsvlm ")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ask"], 2, "Missing argument"),
        (["ask", "scene.tif", "Is it?", "--wrong"], 2, "--wrong"),
        (["nonsense"], 2, "nonsense"),
        (["ask", "scene.tif", "Is it?", "--json", "--jsonl"], 2, "--json and --jsonl"),
        (["ask", "scene.tif", "What is it?", "--test"], 2, "yes or no"),
        (["caption", "scene.tif", "--out", "x.doc"], 2, ".geojson"),
        (["caption", "scene.tif", "--out", "x.tif"], 2, "makes no mask"),
        (["caption", "scene.tif", "--stretch", "wild"], 2, "stretch"),
        (["detect", "scene.tif", "--tile", "9"], 2, "--tile 9"),
        (["describe", "scene.tif"], 2, "--box"),
        (["caption", "absent.tif"], 3, "absent.tif"),
        (["caption", "broken.tif"], 3, "broken.tif"),
        (["caption", "scene.tif", "--bands", "4,3,9"], 3, "--bands asks for 4"),
        (["caption", "scene.tif", "--window", "9000,9000,9100,9100"], 3, "outside"),
        (["describe", "plain.png", "--bbox", "1,2,3,4"], 3, "georeference"),
        (["caption", "plain.png", "--out", "x.geojson"], 3, "longitude and latitude"),
        (["detect-change", "scene.tif", "far.tif"], 3, "share no ground"),
        (["caption", "scene.tif", "--out", "there.json"], 3, "--overwrite"),
        (["caption", "scene.tif", "--out", "nowhere/x.json"], 3, "folder"),
        (["caption", "scene.tif", "--model", "absent"], 4, "absent"),
        (["caption", "scene.tif", "--model", "emptied"], 4, "emptied"),
        (["models", "verify", "emptied"], 4, "emptied"),
        (["models", "show", "newer"], 4, "format"),
        (["caption", "scene.tif", "--max-tokens", "2"], 5, "--max-tokens"),
        (["caption", "scene.tif", "broken.tif", "--jsonl"], 6, "1 of 2"),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_and_its_code(run, scenes, bundle_path, arguments, code, says):
    (scenes / "broken.tif").write_bytes((scenes / "scene.tif").read_bytes()[:3000])
    (scenes / "there.json").write_text("{}")
    write_png(scenes / "plain.png")
    write_geotiff(scenes / "far.tif", draw_scene((64, 64)), crs="EPSG:32735")
    manifest = (bundle_path / "rsvlm.json").read_text()
    for name, text in (("emptied", manifest), ("newer", manifest.replace(f'"format": {FORMAT}', '"format": 99'))):
        (scenes / name).mkdir()
        (scenes / name / "rsvlm.json").write_text(text)
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    several = code == 6
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1 + several
    assert "Traceback" not in done.output


def test_a_fault_of_ours_is_one_line_and_a_traceback_only_when_asked(run, fake_engine):
    fake_engine(ZeroDivisionError("seven"))
    quiet = run("caption", "scene.tif")
    assert quiet.exit_code == 1
    assert quiet.stderr == "error: ZeroDivisionError: seven (a fault of rsvlm: run again with rsvlm --debug)\n"
    fake_engine(ZeroDivisionError("seven"))
    loud = run("--debug", "caption", "scene.tif")
    assert loud.exit_code == 1
    assert "Traceback" in loud.stderr


@pytest.mark.parametrize(
    "error", [InputError("in"), BundleCorrupt("bundle"), ReplyMalformed("reply", "text"), RsvlmError("r")]
)
def test_every_branch_of_the_error_tree_ends_with_its_own_code(run, fake_engine, error):
    fake_engine(error)
    done = run("caption", "scene.tif")
    assert done.exit_code == error.exit_code
    assert done.stderr == f"error: {error}\n"


def test_an_interrupt_is_130_and_leaves_nothing_behind(run, fake_engine, scenes):
    before = sorted(scenes.iterdir())
    fake_engine(KeyboardInterrupt())
    done = run("caption", "scene.tif", "--out", "caption.jsonl")
    assert done.exit_code == 130
    assert done.stderr == "error: interrupted\n"
    assert sorted(scenes.iterdir()) == before


def test_quiet_says_nothing_but_errors_and_verbose_says_more(run, scenes):
    write_png(scenes / "plain.png")
    question = ("ask", "plain.png", "Is there water?")
    assert "warning: plain.png: has no georeference" in run(*question).stderr
    assert run("--quiet", *question).stderr == ""
    assert "note: wrote x.json" in run("--verbose", *question, "--out", "x.json").stderr


def test_a_reader_that_leaves_is_no_error(scenes, offline_env, bundle_path):
    env = offline_env | {"RSVLM_MODEL": str(bundle_path)}
    command = f"{sys.executable} -m rsvlm_cli schema | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=scenes, env=env, capture_output=True, text=True)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_a_signal_while_it_works_ends_it_in_one_line(scenes, offline_env, bundle_path):
    env = offline_env | {"RSVLM_MODEL": str(bundle_path)}
    command = [sys.executable, "-m", "rsvlm_cli", "ask", "scene.tif"]
    process = subprocess.Popen(
        command, cwd=scenes, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background job ignores the signal, and so would what the job starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    process.stdin.write("Is there water?\n")
    process.stdin.flush()
    assert process.stdout.readline().strip() in ("yes", "no")
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "error: interrupted\n"


def test_no_colour_and_no_progress_off_a_terminal(rsvlm, bundle_path):
    done = rsvlm("detect", "scene.tif", "--classes", "ship", "--tile", "256", "--model", str(bundle_path))
    assert done.returncode in (0, 5)
    assert "\x1b" not in done.stdout + done.stderr

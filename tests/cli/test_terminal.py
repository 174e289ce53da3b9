"""What only a terminal gets: progress, pictures, a chat. Stdout stays a pipe and holds the answer alone."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from rsvlm_cli.output.overlay import half_blocks

pty = pytest.importorskip("pty")


@pytest.fixture
def on_terminal(scenes, offline_env, bundle_path):
    """Run the tool with stderr, and stdin where text is typed, on a terminal; return code, stdout, what was shown."""

    def run(*arguments: str, typed: str | None = None, **env: str) -> tuple[int, str, str]:
        ours, theirs = pty.openpty()
        environment = {**offline_env, "RSVLM_MODEL": str(bundle_path), "TERM": "xterm-256color", **env}
        if "NO_COLOR" not in env:
            environment.pop("NO_COLOR", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "rsvlm_cli", *arguments],
            cwd=scenes,
            env=environment,
            stdin=subprocess.DEVNULL if typed is None else theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        if typed is not None:
            os.write(ours, typed.encode())
        shown: list[bytes] = []
        reader = threading.Thread(target=_drain, args=(ours, shown))
        reader.start()
        stdout = process.stdout.read().decode()
        process.stdout.close()
        code = process.wait(60)
        reader.join(10)
        os.close(ours)
        return code, stdout, b"".join(shown).decode()

    return run


def _drain(terminal: int, shown: list[bytes]) -> None:
    try:
        while data := os.read(terminal, 65536):
            shown.append(data)
    except OSError:
        pass  # how Linux says that the other side has closed


def test_progress_is_shown_on_the_terminal_and_the_answer_alone_on_stdout(on_terminal, run):
    arguments = ("segment", "scene.tif", "--label", "water", "--tile", "300")
    code, stdout, shown = on_terminal(*arguments)
    assert code == 0
    assert "windows" in shown
    assert "4/4" in shown
    assert stdout == run(*arguments).stdout


def test_show_draws_the_result_on_the_terminal(on_terminal):
    code, stdout, shown = on_terminal("ask", "scene.tif", "Is there water?", "--show", COLUMNS="80")
    assert code == 0
    assert shown.count("▀") == 80 * 40
    assert stdout in ("yes\n", "no\n")


def test_without_colour_nothing_is_drawn(on_terminal):
    _, _, shown = on_terminal("ask", "scene.tif", "Is there water?", "--show", NO_COLOR="1")
    assert "▀" not in shown
    assert "--show draws" in shown


def test_without_a_question_a_terminal_gets_a_chat(on_terminal):
    code, stdout, shown = on_terminal("ask", "scene.tif", typed="Is there water?\nAre there ships?\n\x04")
    assert code == 0
    assert len(stdout.split()) == 2
    assert set(stdout.split()) <= {"yes", "no"}
    assert shown.count("> ") == 3


def test_half_blocks_hold_two_pixels_a_character():
    pixels = np.zeros((4, 2, 3), np.uint8)
    pixels[0, 0] = (255, 0, 0)
    pixels[1, 0] = (0, 0, 255)
    lines = half_blocks(Image.fromarray(pixels), 2).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("\x1b[38;2;255;0;0;48;2;0;0;255m▀")
    assert all(line.endswith("\x1b[0m") for line in lines)

"""What the README tells a reader to type works: each line behind a ``$`` runs, in the order of the page."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.readme import commands

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = commands(README)
MAKE_TARGETS = re.findall(r"^make (\w+)", README, re.MULTILINE)


@pytest.fixture
def shell(offline_env, tmp_path):
    """Run one line without network, in a folder of its own, with ``rsvlm`` and ``python`` on the path."""
    tools, folder = tmp_path / "tools", tmp_path / "user"
    tools.mkdir()
    folder.mkdir()
    # The checkout's own tool, whatever other rsvlm the machine has.
    (tools / "rsvlm").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rsvlm_cli "$@"\n')
    (tools / "rsvlm").chmod(0o755)
    env = offline_env | {"PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-o", "pipefail", "-c", line]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)

    return run


def test_every_command_of_the_readme_runs(shell):
    failures = {}
    for line in ["rsvlm demo", *COMMANDS]:
        done = shell(line)
        # Under --test the exit code is the answer.
        if done.returncode not in ((0, 10) if "--test" in line else (0,)) or "Traceback" in done.stderr:
            failures[line] = f"exit {done.returncode}: {done.stderr}"
    assert not failures


def test_the_readme_shows_every_command():
    listed = {path.stem.replace("_", "-") for path in (ROOT / "rsvlm_cli" / "commands").glob("[a-z]*.py")}
    # Those of the workshop are named in the text: what they need does not lie in a reader's folder.
    shown = set(re.findall(r"\brsvlm ([a-z-]+)", README))
    assert listed - shown == {"demo"}  # which `make demo` runs


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", sorted({*MAKE_TARGETS, "check", "wheel", "bench"}))
def test_make_target_is_valid(target, tmp_path):
    done = subprocess.run(
        ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "-m venv" in done.stdout  # a fresh machine has none


def test_the_readme_names_both_commands_of_a_fresh_machine():
    assert MAKE_TARGETS[:2] == ["demo", "test"]


def test_every_file_that_the_readme_names_exists():
    tree = re.search(r"^## What is where\n+```\n(.*?)^```", README, re.MULTILINE | re.DOTALL).group(1)
    folder, missing = Path(), []
    for line in tree.splitlines():
        name = line.split()[0]
        folder = Path() if not line.startswith(" ") else folder
        if not (ROOT / folder / name).exists():
            missing.append(str(folder / name))
        folder = Path(name) if not line.startswith(" ") else folder
    linked = re.findall(r"`((?:docs|benchmarks|train|tests)/[\w./-]+)`", README)
    assert not [*missing, *(name for name in linked if not (ROOT / name).exists())]


def test_the_readme_says_nothing_unfinished():
    assert "LEAD:" not in README
    assert "LEAD:" not in (ROOT / "docs" / "model-card.md").read_text("utf-8")

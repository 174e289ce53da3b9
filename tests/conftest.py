"""What every test may use: a process without network, made scenes, and the tool as a user starts it."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import tests.offline.sitecustomize  # noqa: F401  this process may open no network socket either
from tests.factories import draw_scene, write_geotiff

# A busy machine is no failure.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _quiet_loggers_again() -> Iterator[None]:
    """Undo what a command that ran in this process did to the loggers, so that `caplog` hears the next test."""
    loggers = [logging.getLogger(name) for name in ("rsvlm_cli", "train", "export")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(scope="session")
def offline_env() -> dict[str, str]:
    """An environment for subprocesses: an internet socket is an error, and no setting of the developer leaks in."""
    path = os.pathsep.join([str(ROOT / "tests" / "offline"), str(ROOT)])
    settings = {"PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "120"}
    return {key: value for key, value in os.environ.items() if not key.startswith("RSVLM_")} | settings


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A folder with ``scene.tif``, and ``before.tif`` and ``after.tif`` of one place, some buildings more."""
    write_geotiff(tmp_path / "scene.tif", draw_scene((512, 512), buildings=6))
    write_geotiff(tmp_path / "before.tif", draw_scene((512, 512), buildings=2))
    write_geotiff(tmp_path / "after.tif", draw_scene((512, 512), buildings=9))
    return tmp_path


@pytest.fixture
def rsvlm(offline_env: dict[str, str], scenes: Path):
    """Run the tool as a new process without network in the folder of `scenes`: ``rsvlm("ask", "scene.tif", "...")``."""

    def run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rsvlm_cli", *args]
        return subprocess.run(
            command, cwd=scenes, env=offline_env, input=stdin, capture_output=True, text=True, timeout=120
        )

    return run

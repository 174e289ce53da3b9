"""Every command meets a real engine with random weights here: its replies are noise of the right form."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rsvlm_cli import scene
from rsvlm_cli.main import app
from rsvlm_cli.runtime.bundle import write_manifest
from rsvlm_cli.tasks.dialect import NANO, RSCOVLM
from tests.bundle_factory import BundleSize, make_bundle

CLASSES = {
    "scene": ["urban", "farmland", "forest"],
    "objects": [{"label": "building", "gsd_m": [0.2, 1.0]}, {"label": "ship", "gsd_m": [2.0, 2.0]}],
    "masks": ["water", "building"],
    "change": ["building"],
}


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory) -> Path:
    """The folder of a bundle with random weights that speaks nano's dialect."""
    folder = tmp_path_factory.mktemp("home") / "models" / "noise"
    folder.parent.mkdir()
    bundle = make_bundle(folder, size=BundleSize(max_context=2048))
    dialect = replace(NANO, mask_grid=2 * math.isqrt(bundle.manifest.image.tokens - 1))
    write_manifest(folder, replace(bundle.manifest, dialect=dialect.to_json(), classes=CLASSES))
    return folder


@pytest.fixture
def run(bundle_path, scenes, monkeypatch):
    """Run the tool in this process, in the folder of `scenes`: ``run("ask", "scene.tif", "Is it?")``."""
    monkeypatch.chdir(scenes)
    monkeypatch.setenv("RSVLM_MODEL", str(bundle_path))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")

    def invoke(*arguments: str, stdin: str | None = None):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, prog_name="rsvlm")

    return invoke


@pytest.fixture
def as_rscovlm():
    """Make an engine one of RSCoVLM's family that sees pictures of a size in pixels; keywords change its dialect."""

    def change(engine, size_px, **dialect):
        manifest = engine.bundle.manifest
        image, spoken = replace(manifest.image, size=size_px), replace(RSCOVLM, **dialect)
        engine.bundle = replace(engine.bundle, manifest=replace(manifest, image=image, dialect=spoken.to_json()))
        return engine

    return change


@pytest.fixture
def fake_engine(monkeypatch, bundle_path):
    """Put a `FakeEngine` in the engine's place: ``fake_engine("[1, 2, 3, 4]", "yes")`` with its replies in order."""
    from rsvlm_cli.runtime.bundle import read_bundle
    from tests.fake_engine import WRITTEN, FakeEngine

    bundle = read_bundle(bundle_path)
    bundle = replace(bundle, manifest=replace(bundle.manifest, dialect=WRITTEN.to_json()))

    def install(*replies) -> FakeEngine:
        engine = FakeEngine(list(replies))
        engine.bundle = bundle
        monkeypatch.setattr(scene, "open_engine", lambda *_: engine)
        return engine

    return install

"""``rsvlm models pull`` from a hub of our own on this machine, each a process of its own, for this one may not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.config import ModelConfig
from tests.export.conftest import random_model
from tests.released import DECODER, VISION, write_released

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A released checkpoint with what else lies in a repository."""
    folder = write_released(
        tmp_path_factory.mktemp("hub") / "tiny", random_model(ModelConfig(vision=VISION, decoder=DECODER))
    )
    (folder / "README.md").write_text("# weights")
    (folder / "training_args.bin").write_bytes(b"\x80\x04 a pickle that nobody asked for")
    return folder


@pytest.fixture
def hub(repository, tmp_path):
    """Start a hub with a fault or none; returns its address."""
    servers = []

    def start(fault: str = "") -> str:
        command = [sys.executable, ROOT / "tests" / "hub_server.py", repository, tmp_path / "log.txt", fault]
        servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return servers[-1].stdout.readline().strip()

    yield start
    for server in servers:
        server.terminate()
        server.wait()
        server.stdout.close()


@pytest.fixture
def pull(tmp_path):
    """Run the command with the hub's address as the only network it may know."""
    keep = ("PATH", "HOME", "TMPDIR", "OMP_NUM_THREADS", "LANG", "SYSTEMROOT")
    env = {key: os.environ[key] for key in keep if key in os.environ}
    env |= {"PYTHONPATH": str(ROOT), "RSVLM_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf")}

    def run(endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rsvlm_cli", "models", "pull", *arguments, "--accept-licence"]
        return subprocess.run(
            command, env=env | {"HF_ENDPOINT": endpoint}, capture_output=True, text=True, timeout=300, cwd=tmp_path
        )

    return run


def requests(tmp_path):
    return [line.split() for line in (tmp_path / "log.txt").read_text().splitlines()]


def test_a_model_is_fetched_checked_and_imported(hub, pull, tmp_path):
    done = pull(hub(), "someone/tiny", "--name", "tiny", "--profile", "int8")
    assert done.returncode == 0, done.stderr
    home = tmp_path / "home" / "models"
    assert done.stdout.startswith(f"tiny\t{home / 'tiny'}\tint8")
    assert json.loads((home / "tiny" / "rsvlm.json").read_text())["repetition_penalty"] == 1.1
    assert not list((home / ".downloads").iterdir())
    asked = {line[1].rpartition("/")[2] for line in requests(tmp_path) if "/resolve/" in line[1]}
    assert asked == {"config.json", "generation_config.json", "tokenizer.json", "model.safetensors"}


def test_one_that_broke_off_goes_on_where_it_was(hub, pull, tmp_path, repository):
    endpoint = hub("model.safetensors")
    broken = pull(endpoint, "someone/tiny", "--name", "tiny")
    assert broken.returncode == 4, broken.stderr
    assert broken.stderr.splitlines()[-1].startswith("error: someone/tiny: ")
    assert "pull again" in broken.stderr
    assert not (tmp_path / "home" / "models" / "tiny").exists()
    (part,) = (tmp_path / "home" / "models" / ".downloads").rglob("*.part")
    held = part.stat().st_size
    assert 0 < held < (repository / "model.safetensors").stat().st_size

    program = f"import urllib.request as u; u.build_opener(u.ProxyHandler({{}})).open('{endpoint}/mend')"
    subprocess.run([sys.executable, "-c", program], check=True)
    before = len(requests(tmp_path))
    done = pull(endpoint, "someone/tiny", "--name", "tiny", "--profile", "int8")
    assert done.returncode == 0, done.stderr
    assert "going on at" in done.stderr
    again = [line for line in requests(tmp_path)[before:] if "/resolve/" in line[1]]
    assert [line[2] for line in again] == [f"bytes={held}-"]  # that file alone, from there


def test_a_file_that_comes_altered_is_refused(hub, pull, tmp_path):
    done = pull(hub("ALTER config.json"), "someone/tiny")
    assert done.returncode == 4
    assert "config.json came altered" in done.stderr
    assert not list((tmp_path / "home" / "models" / ".downloads").rglob("config.json*"))


@pytest.mark.parametrize(
    ("name", "says"), [("someone/else", "someone/else: "), ("nonsense", "nonsense: no name that is known")]
)
def test_what_is_not_there_is_one_line(hub, pull, name, says):
    done = pull(hub(), name)
    assert done.returncode == 4
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1

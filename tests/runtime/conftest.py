from pathlib import Path

import numpy as np
import pytest

from rsvlm_cli.runtime.bundle import Bundle
from rsvlm_cli.runtime.engine import Engine
from tests.bundle_factory import make_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that tests read and never change."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Bundle:
    """A bundle that a test may break."""
    return make_bundle(tmp_path / "tiny")


@pytest.fixture
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle, threads=1)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (21, 33, 3), np.uint8)

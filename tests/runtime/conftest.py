import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rsvlm_cli.runtime.bundle import Bundle
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.runtime.native.build import CompileError, find_compiler
from rsvlm_cli.runtime.ops import build_native
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


@pytest.fixture(scope="module")
def library() -> Iterator[ctypes.CDLL]:
    """The native operators, compiled if they are not there; after the tests the best kernels are in use again."""
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    try:
        loaded = ctypes.CDLL(str(build_native()))
    except CompileError as error:
        pytest.fail(str(error))
    loaded.rsvlm_kernels.restype = ctypes.c_char_p
    best = loaded.rsvlm_kernels()
    yield loaded
    loaded.rsvlm_choose_kernels(best)


@pytest.fixture(params=["amx-int8", "avx512-vnni", "avx2", "plain"])
def kernels(request: pytest.FixtureRequest, library: ctypes.CDLL) -> str:
    """Each set of kernels that this CPU runs, in use."""
    if not library.rsvlm_choose_kernels(request.param.encode()):
        pytest.skip(f"this CPU has no {request.param}")
    return str(request.param)

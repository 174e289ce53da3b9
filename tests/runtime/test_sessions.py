import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsvlm_cli.errors import BundleError
from rsvlm_cli.runtime import sessions
from rsvlm_cli.runtime.bundle import Bundle
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.runtime.sessions import choose_device, count_cores, ort


def test_a_device_that_is_not_there_is_said_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto") == "cpu"
        assert not caplog.records
        assert choose_device("cuda") == "cpu"
    (record,) = caplog.records
    assert "no CUDA" in record.message
    assert "\n" not in record.message


def test_cuda_is_taken_where_it_is_there_unless_the_cpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(sessions, "count_cuda_devices", lambda: 1)
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("devices", "in_blocks", "line"),
    [(0, False, "no CUDA device or driver"), (1, True, r"quantised for the CPU \(export it with --profile fp32")],
)
def test_what_keeps_a_model_off_the_gpu_is_said_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, devices: int, in_blocks: bool, line: str
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(sessions, "count_cuda_devices", lambda: devices)
    with caplog.at_level(logging.INFO):
        assert choose_device("cuda", in_blocks=in_blocks) == "cpu"
        assert choose_device("auto", in_blocks=in_blocks) == "cpu"
    warned, told = caplog.records
    assert (warned.levelname, told.levelname) == ("WARNING", "INFO")
    assert re.search(line, warned.message)
    assert "\n" not in warned.message


def test_without_a_driver_no_device_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(sessions.ctypes, "CDLL", refuse)
    assert sessions.count_cuda_devices() == 0


def test_at_least_one_core_is_counted() -> None:
    assert count_cores() >= 1


def test_unknown_operators_are_named(bundle: Bundle, picture: np.ndarray) -> None:
    needs = replace(bundle, manifest=replace(bundle.manifest, ops={"com.microsoft": 1, "somewhere.else": 3}))
    with pytest.raises(BundleError, match=r"operators somewhere\.else version 3"):
        Engine(needs).encode_images([picture])


def test_stock_operators_need_no_library(bundle: Bundle, picture: np.ndarray) -> None:
    stock = replace(bundle, manifest=replace(bundle.manifest, ops={"com.microsoft": 1}))
    assert len(Engine(stock).encode_images([picture])) == 1


def test_a_graph_that_is_none_is_one_line(
    bundle_copy: Bundle, picture: np.ndarray, capfd: pytest.CaptureFixture
) -> None:
    Path(bundle_copy.path / "vision.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"vision\.onnx: ONNX Runtime .* cannot open it") as error:
        Engine(bundle_copy).encode_images([picture])
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_threads_spin_only_where_each_has_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions.os, "cpu_count", lambda: 10**6)
    assert sessions.have_cores(2) == Path("/proc/loadavg").exists()
    monkeypatch.setattr(sessions.os, "cpu_count", lambda: 1)
    assert not sessions.have_cores(2)

    def refuse(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(sessions.os, "cpu_count", lambda: 10**6)
    monkeypatch.setattr(Path, "read_text", refuse)
    assert not sessions.have_cores(2)

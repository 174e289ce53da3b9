"""How an ONNX Runtime session is opened: threads, device, operators."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from rsvlm_cli.errors import BundleError
from rsvlm_cli.runtime.ops import find_libraries

Device = Literal["auto", "cpu", "cuda"]

LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

log = logging.getLogger(__name__)


def choose_device(device: Device) -> Literal["cpu", "cuda"]:
    """Return where to run; a CUDA device that is asked for and not there is said once, and the CPU takes over."""
    if device == "cpu":
        return "cpu"
    if "CUDAExecutionProvider" in ort.get_available_providers():
        return "cuda"
    if device == "cuda":
        log.warning("no CUDA in this ONNX Runtime, running on the CPU (pip install 'rsvlm[gpu]')")
    return "cpu"


def open_session(
    path: Path, ops: Mapping[str, int], device: Literal["cpu", "cuda"], threads: int
) -> ort.InferenceSession:
    """Open a graph.

    Args:
        path: the ONNX file, its external data beside it.
        ops: operator domains it needs.
        device: where to run.
        threads: of the CPU operators.

    Raises:
        BundleError: if an operator is missing or the graph cannot be opened.
    """
    options = ort.SessionOptions()
    # Given outright: left to itself, ONNX Runtime pins one thread to each core of the machine, also to those that a
    # container or a batch system has withheld, and complains on stderr.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A waiting thread that spins takes the core from whatever else the machine does: on two shared cores, opening,
    # encoding and decoding took 2 to 3 times as long with it, for nano's widths and the 1B model's. A machine of one's
    # own would gain up to a fifth in decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what fails comes back as an exception
    for library in find_libraries(ops):
        options.register_custom_ops_library(str(library))
    providers = (["CUDAExecutionProvider"] if device == "cuda" else []) + ["CPUExecutionProvider"]
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except LOAD_ERRORS as error:
        reason = str(error).splitlines()[0][:200]
        raise BundleError(
            f"{path}: ONNX Runtime {ort.__version__} cannot open it: {reason} (import it again)"
        ) from error


def count_cores() -> int:
    """Return the physical cores that this process may use; hyper-threads of one core count once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    siblings = set()
    for cpu in cpus:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(topology.read_text().strip() if topology.is_file() else str(cpu))
    return len(siblings)

"""How an ONNX Runtime session is opened: threads, device, operators."""

import ctypes
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from rsvlm_cli.errors import BundleError
from rsvlm_cli.runtime.bundle import Bundle, NativeSpec
from rsvlm_cli.runtime.ops import can_serve, find_libraries

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

SPIN_US = 30
"""How long a thread spins before it sleeps: as long as the gap between two nodes of a single token's pass lasts."""

log = logging.getLogger(__name__)


def choose_device(device: Device, *, in_blocks: bool = False) -> Literal["cpu", "cuda"]:
    """Return where to run; what was asked for and cannot be had is said in one line, and the CPU takes over.

    Args:
        device: ``auto`` takes a GPU where that works.
        in_blocks: whether the model's experts are stored in blocks, which only the CPU's operators read as they are.
    """
    if device == "cpu":
        return "cpu"
    obstacle = find_obstacle(in_blocks)
    if obstacle is None:
        log.info("running on the GPU")
        return "cuda"
    log.log(logging.WARNING if device == "cuda" else logging.INFO, "running on the CPU: %s", obstacle)
    return "cpu"


def find_obstacle(in_blocks: bool) -> str | None:
    """Return why a model cannot run on a GPU here, with the way out; None where it can."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "no CUDA in this ONNX Runtime (pip install 'rsvlm[gpu]')"
    if not count_cuda_devices():
        return "no CUDA device or driver on this machine"
    if in_blocks:
        return "this model's weights are quantised for the CPU (export it with --profile fp32 for a GPU)"
    return None


def count_cuda_devices() -> int:
    """Return how many CUDA devices the driver reports; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def open_graph(bundle: Bundle, name: str, device: Literal["cpu", "cuda"], threads: int) -> ort.InferenceSession:
    """Open a graph of a bundle, or where this machine can run it the native graph that stands in for it.

    Args:
        bundle: the model.
        name: `VISION` or `DECODER`.
        device: where to run; the native operators are the CPU's.
        threads: of the CPU operators.

    Raises:
        BundleError: if an operator is missing or the graph cannot be opened.
    """
    native = find_native(bundle, name, device)
    if native is None:
        return open_session(bundle.path / name, bundle.manifest.ops, device, threads)
    log.info("%s runs on the native operators", native.graphs[name])
    return open_session(bundle.path / native.graphs[name], native.ops, device, threads)


def find_native(bundle: Bundle, name: str, device: Literal["cpu", "cuda"]) -> NativeSpec | None:
    """Return what stands in for a graph of a bundle on this machine; None where nothing does."""
    native = bundle.manifest.native
    return native if native and device == "cpu" and name in native.graphs and can_serve(native.ops) else None


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
    # A thread that spins while it waits is there when the next node begins, and takes its core from whatever else runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(have_cores(threads))))
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
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


def have_cores(threads: int) -> bool:
    """Say whether so many threads and all else that runs at this moment have a core each; False where none can tell."""
    try:
        n_running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    except OSError:
        return False
    return n_running - 1 + threads <= (os.cpu_count() or 1)


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

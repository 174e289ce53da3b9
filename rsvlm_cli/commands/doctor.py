"""``rsvlm doctor``: whether this machine can run the tool."""

from typing import Annotated

import typer

from rsvlm_cli.options import DEFAULT_MODEL, ModelOption

EXAMPLES = ("rsvlm doctor", "rsvlm doctor --model nano --json", "rsvlm doctor --build")

PACKAGES = ("numpy", "onnxruntime", "tokenizers", "rasterio", "pillow", "typer", "rich")
CPU_FLAGS = ("avx2", "f16c", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "i8mm")
"""What the kernels of the quantised model look for."""


def doctor(
    model: ModelOption = DEFAULT_MODEL,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    build: Annotated[bool, typer.Option("--build", help="Compile the native operators first, if need be.")] = False,
) -> None:
    """Check the machine, the libraries and the model: hashes its files and asks it one question. Exit 4 if it fails."""
    import sys

    from rsvlm_cli.errors import BundleError
    from rsvlm_cli.output.document import dump
    from rsvlm_cli.output.text import mapping_to_text

    if build:
        build_operators()
    facts, fault = describe_machine(), None
    try:
        facts |= check_model(model)
    except BundleError as error:
        facts["model"], fault = f"cannot be used: {error}", error
    sys.stdout.write(dump(facts, indent=1) + "\n" if json else mapping_to_text(facts))
    if fault:
        raise fault


def build_operators() -> None:
    """Compile the native operators.

    Raises:
        UsageError: if there is no compiler, or it fails.
    """
    from rsvlm_cli.errors import UsageError
    from rsvlm_cli.runtime.native.build import CompileError
    from rsvlm_cli.runtime.ops import build_native

    try:
        build_native()
    except CompileError as error:
        raise UsageError(f"the native operators cannot be compiled: {error}") from error


def describe_machine() -> dict[str, object]:
    """Return what of the machine and the libraries matters here."""
    import os
    import platform
    from importlib.metadata import version

    from rsvlm_cli import __version__
    from rsvlm_cli.geo.picture import gdal_version
    from rsvlm_cli.runtime.ops import describe_native
    from rsvlm_cli.runtime.sessions import choose_device, count_cores

    facts: dict[str, object] = {
        "rsvlm": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    facts |= {"packages": {name: version(name) for name in PACKAGES}, "gdal": gdal_version()}
    facts |= {"cores": count_cores(), "cpu_flags": read_cpu_flags(), "device": choose_device("auto")}
    facts["native_operators"] = describe_native()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        page = os.sysconf("SC_PAGE_SIZE")
        facts["memory_gib"] = round(page * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
        facts["memory_free_gib"] = round(page * os.sysconf("SC_AVPHYS_PAGES") / 2**30, 1)
    return facts


def read_cpu_flags() -> list[str]:
    """Return those of `CPU_FLAGS` that this CPU has; empty where the system does not tell."""
    from pathlib import Path

    path = Path("/proc/cpuinfo")
    words = set(path.read_text().split()) if path.is_file() else set()
    return [flag for flag in CPU_FLAGS if flag in words]


def check_model(model: str) -> dict[str, object]:
    """Hash a model's files and ask it one question about a grey picture.

    Raises:
        BundleError: if it cannot be used.
    """
    import time

    import numpy as np

    from rsvlm_cli.runtime.bundle import find_bundle, read_bundle, verify_bundle
    from rsvlm_cli.runtime.engine import Engine
    from rsvlm_cli.tasks import ask
    from rsvlm_cli.tasks.dialect import Dialect

    bundle = read_bundle(find_bundle(model))
    verify_bundle(bundle)
    start = time.perf_counter()
    engine = Engine(bundle)
    features = engine.encode_images([np.full((64, 64, 3), 128, np.uint8)])
    asked = ask.request(Dialect.from_json(dict(bundle.manifest.dialect)), "Is there a ship?")
    engine.score(features, asked.prompt, asked.expert, asked.candidates)
    seconds = round(time.perf_counter() - start, 3)
    size_mb = round(sum(entry.size for entry in bundle.manifest.files.values()) / 1e6, 1)
    return {"model": f"{bundle.manifest.name} is whole", "model_path": str(bundle.path), "model_mb": size_mb} | {
        "first_answer_seconds": seconds
    }

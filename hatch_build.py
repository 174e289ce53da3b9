"""Compiles the native operators into the wheel, where a compiler is there; elsewhere the wheel does without them.

With them the wheel is one platform's (``py3-none-linux_x86_64``): the library knows no Python, only ONNX Runtime's
C API. An editable install compiles them into the checkout.
"""

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("rsvlm_cli", "runtime", "native")


class NativeOperators(BuildHookInterface):
    """Hatchling's hook of the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put the library into the wheel."""
        folder = Path(self.root) / NATIVE
        build = load_build(folder / "build.py")
        library = folder / build.library_name()
        if not library.exists():
            try:
                build.compile_library(folder)
            except (build.CompileError, OSError) as error:
                self.app.display_warning(f"without the native operators: {error}")
                return
        if version == "editable":
            return
        build_data["force_include"][str(library)] = (NATIVE / library.name).as_posix()
        build_data["pure_python"] = False
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{tag}"


def load_build(path: Path) -> ModuleType:
    """Load ``build.py`` from where it lies: the package itself needs libraries that a build does not have."""
    spec = importlib.util.spec_from_file_location("rsvlm_native_build", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

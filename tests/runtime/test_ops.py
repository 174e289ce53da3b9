import ctypes
import re
import shutil

import pytest

from rsvlm_cli.runtime import ops
from rsvlm_cli.runtime.native import build


@pytest.fixture
def nothing_built(tmp_path, monkeypatch):
    monkeypatch.setattr(ops, "library_folders", lambda: (tmp_path / "package", tmp_path / "cache"))
    return tmp_path


@pytest.mark.native
@pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler")
def test_the_library_is_compiled_once_and_found(nothing_built):
    assert ops.native_library() is None
    assert "rsvlm doctor --build" in ops.describe_native()
    library = ops.build_native()
    assert library.parent == nothing_built / "package"
    assert [path.name for path in library.parent.iterdir()] == [build.library_name()]
    stamp = library.stat().st_mtime_ns
    assert ops.build_native() == ops.native_library() == library
    assert library.stat().st_mtime_ns == stamp
    assert ctypes.CDLL(str(library)).RegisterCustomOps
    assert ops.describe_native().startswith(f"{ops.native_kernels(library)} kernels")


@pytest.mark.native
@pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler")
def test_a_compiler_that_knows_no_amx_compiles_what_is_left(tmp_path, monkeypatch):
    old = tmp_path / "old"
    refuses = 'case "$*" in *-mamx*) echo "error: unknown option" >&2; exit 1;; esac'
    old.write_text(f'#!/bin/sh\n{refuses}\nexec {build.find_compiler()} "$@"\n')
    old.chmod(0o755)
    monkeypatch.setenv("CXX", str(old))
    monkeypatch.setattr(build, "FLAGS", ("-std=c++17", "-O0", "-fPIC", "-fvisibility=hidden"))
    library = ctypes.CDLL(str(build.compile_library(tmp_path)))
    assert not library.rsvlm_choose_kernels(b"amx-int8")
    assert library.rsvlm_choose_kernels(b"plain")


@pytest.mark.native
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_every_compiler_that_is_looked_for_takes_the_sources(tmp_path, monkeypatch, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(build, "FLAGS", ("-std=c++17", "-O0", "-fPIC", "-fvisibility=hidden"))
    assert ctypes.CDLL(str(build.compile_library(tmp_path))).RegisterCustomOps


def test_no_declaration_deduces_two_types():
    # g++ takes `Phase a{...}, b{...}` of two bodies; the standard and clang++ do not.
    for path in build.SOURCES.glob("*.[ch]*"):
        assert not re.search(r"\bPhase \w+\{[^;]*\}, \w+\{", path.read_text()), path.name


def test_a_machine_without_compiler_says_so_in_one_line(nothing_built, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.CompileError, match=r"^no C\+\+ compiler \(install g\+\+ or clang\+\+"):
        ops.build_native()
    assert "install a C++ compiler" in ops.describe_native()
    assert not ops.can_serve({"rsvlm": 1})
    assert ops.can_serve({"com.microsoft": 1})


def test_a_compiler_that_fails_leaves_nothing_behind(nothing_built, monkeypatch):
    broken = nothing_built / "broken"
    broken.write_text("#!/bin/sh\necho 'x.cpp:1: error: no good' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(build.CompileError, match=r"x\.cpp:1: error: no good") as error:
        ops.build_native()
    assert "\n" not in str(error.value)
    assert not list((nothing_built / "package").iterdir())


def test_the_switch_leaves_the_native_operators_aside(monkeypatch):
    monkeypatch.setenv(ops.SWITCH, "0")
    assert ops.native_library() is None
    assert ops.SWITCH in ops.describe_native()

"""The house keeps its own rules: layers, names, sizes, what is published, and what starts without what."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from rsvlm_cli import errors
from rsvlm_cli.runtime.native.build import find_compiler, library_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("rsvlm_cli", "model", "export", "train")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = ("torch", "transformers", "onnxruntime", "rasterio", "numpy", "tokenizers", "PIL", "model", "train", "export")


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- layers and start-up ----------------------------------------------------------------------------------------------


def test_no_import_contract_is_broken():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_no_heavy_library(arguments, offline_env):
    probe = (
        "import sys, json\n"
        "from rsvlm_cli.main import app\n"
        f"sys.argv = ['rsvlm', *{arguments!r}]\n"
        "try:\n    app()\n"
        "finally:\n    print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], env=offline_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert "rsvlm_cli" in loaded
    assert not set(HEAVY) & set(loaded)


def test_checkout_folders_are_the_ones_imported():
    import export
    import model
    import train

    for package in (export, model, train):
        assert Path(package.__file__).parent.parent == ROOT


# --- names and sizes --------------------------------------------------------------------------------------------------


def test_no_module_has_a_name_that_says_nothing():
    assert not [relative(path) for path in SOURCES if path.stem in {"utils", "util", "common", "helpers", "misc"}]


def test_no_source_file_exceeds_350_lines():
    lengths = {relative(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert not {name: n for name, n in lengths.items() if n > 350}


def functions() -> list[tuple[str, ast.FunctionDef]]:
    trees = ((relative(path), ast.parse(path.read_text("utf-8"))) for path in SOURCES)
    return [(name, node) for name, tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_no_function_body_exceeds_60_lines():
    def body_lines(node: ast.FunctionDef) -> int:
        first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
        return (node.end_lineno or 0) - first.lineno + 1

    assert not {f"{name}:{node.name}": body_lines(node) for name, node in functions() if body_lines(node) > 60}


def test_no_function_outside_the_command_line_takes_more_than_7_parameters():
    # A subcommand's parameters are its flags: their number is the user's matter, not the reader's. A GPU kernel's are
    # its pointers, which no dataclass can carry.
    def is_gpu_kernel(node: ast.FunctionDef) -> bool:
        return "triton.jit" in map(ast.unparse, node.decorator_list)

    def parameters(node: ast.FunctionDef) -> int:
        return len([a for a in (*node.args.args, *node.args.kwonlyargs) if a.arg not in ("self", "cls")])

    inner = [(name, node) for name, node in functions() if not name.startswith("rsvlm_cli/commands/")]
    inner = [(name, node) for name, node in inner if not is_gpu_kernel(node)]
    assert not {f"{name}:{node.name}": parameters(node) for name, node in inner if parameters(node) > 7}


def test_tests_mirror_the_folders_and_are_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_tracked_file_names_a_path_of_a_developers_machine():
    homes = re.compile(r"(?<![\w.])/(?:" + "|".join(["work", "root", "home", "Users", "tmp"]) + r")/\w")
    found = []
    for path in tracked_files():
        if path.exists() and path != Path(__file__):
            text = path.read_bytes().decode("utf-8", "ignore")
            found += [f"{relative(path)}: {text[m.start() : m.start() + 40]!r}" for m in homes.finditer(text)]
    assert not found


# --- errors -----------------------------------------------------------------------------------------------------------


def error_classes() -> dict[str, type[errors.RsvlmError]]:
    kinds = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    return {name: kind for name, kind in kinds.items() if issubclass(kind, errors.RsvlmError)}


def test_the_error_tree_is_drawn_as_it_is():
    drawn = re.findall(r"^([ |`-]*)([A-Z]\w+)(?: +exit (\d))?", errors.__doc__ or "", re.MULTILINE)
    drawn = [(len(indent), name, code) for indent, name, code in drawn if name in error_classes() or code]
    assert {name for _, name, _ in drawn} == set(error_classes())
    open_branches: dict[int, type] = {}
    for indent, name, code in drawn:
        kind = error_classes()[name]
        open_branches = {depth: parent for depth, parent in open_branches.items() if depth < indent} | {indent: kind}
        parents = [open_branches[depth] for depth in sorted(open_branches)]
        assert parents[-2:-1] == ([] if name == "RsvlmError" else [kind.__base__])
        assert not code or kind.exit_code == int(code)


def test_the_readme_lists_every_exit_code():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)}
    raised = {kind.exit_code for kind in error_classes().values()}
    assert listed == {0} | raised | {code for name, code in vars(errors).items() if name.startswith("EXIT_")}


# --- what is published ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment's python, with the wheel installed; the libraries are those of the running one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=sys.platform != "win32")
    (libraries,) = {Path(path) for path in sys.path if path.endswith("site-packages")}
    site = folder / libraries.relative_to(sys.prefix)
    # A path line adds the libraries without running their .pth files, so the checkout stays off the path.
    (site / "libraries.pth").write_text(str(libraries))
    python = folder / Path(sys.executable).relative_to(sys.prefix)
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def test_the_wheel_publishes_rsvlm_cli_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"rsvlm_cli"}


def test_the_wheel_carries_every_tracked_file_of_its_packages(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        prefix = "" if package == "rsvlm_cli" else "rsvlm_cli/_workshop/"
        tracked = {prefix + relative(path) for path in tracked_files() if path.is_relative_to(ROOT / package)}
        assert tracked <= names


def test_the_wheel_carries_the_native_operators_where_a_compiler_is(wheel):
    compiled = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    if find_compiler() is None:
        assert wheel.name.endswith("-py3-none-any.whl")
        assert not compiled
    else:
        assert re.search(r"-py3-none-(linux|macosx)_\w+\.whl$", wheel.name)
        assert compiled == [f"rsvlm_cli/runtime/native/{library_name()}"]


def test_the_installed_tool_answers_without_torch_and_without_network(installed, scenes, offline_env, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    offline = str(ROOT / "tests" / "offline")
    env = offline_env | {"PYTHONPATH": f"{tmp_path}:{offline}"}
    script = installed.with_name("rsvlm")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, *arguments], cwd=scenes, env=env, capture_output=True, text=True)

    shown = run("--help")
    assert shown.returncode == 0, shown.stderr
    assert "detect-change" in shown.stdout
    asked = run("ask", "scene.tif", "Is there water?", "--json")
    assert asked.returncode == 0, asked.stderr
    report = json.loads(asked.stdout)
    assert report["task"] == "ask"
    assert report["results"][0]["text"]


def test_the_installed_workshop_is_entered_from_inside_the_package(installed, tmp_path):
    program = (
        "from rsvlm_cli.workshop import enter_workshop\n"
        "folder = enter_workshop()\n"
        "import model.vlm, export, train, rsvlm_cli\n"
        "print(folder, model.vlm.__file__, export.__file__, train.__file__, rsvlm_cli.__file__, sep='\\n')\n"
    )
    done = subprocess.run([installed, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder, *files, package = map(Path, done.stdout.split())
    assert folder == package.parent / "_workshop"
    assert package.is_relative_to(installed.parent.parent)
    assert all(file.is_relative_to(folder) for file in files)


def test_the_workshop_without_torch_names_the_extra():
    program = (
        "import sys\n"
        "sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
        "from rsvlm_cli.workshop import enter_workshop\n"
        "enter_workshop()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert "UsageError" in done.stderr
    assert "pip install 'rsvlm[train]'" in done.stderr


def test_what_a_task_imports_is_installed_with_the_tool():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in project["dependencies"]}
    known = {"PIL" if name == "pillow" else name for name in brought} | set(sys.stdlib_module_names) | {"rsvlm_cli"}
    strange = {
        (relative(path), name)
        for path in (ROOT / "rsvlm_cli").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        for name in imported_roots(node)
        if name not in known
    }
    assert not strange


def imported_roots(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) and node.module else set()

"""What no single module can hold: the one way of imports, short pages, and a tidy top level."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "minivit"

# A module imports only what stands before it; the house rule, adapted from DESIGN.
ORDER = [
    "errors",
    "files",
    "stats",
    "config",
    "data",
    "layers",
    "model",
    "fused",
    "machine",
    "runs",
    "imports",
    "inference",
    "processes",
    "engine",
    "worker",
    "attention",
    "tour",
    "out_of_distribution",
    "background_predictions",
    "figures",
    "export",
    "sweep",
    "bench",
    "cli",
    "__main__",
]
ALONE = {"figures": {"errors"}}  # all that it may import
TRACKED = {
    "README.md",
    "LICENSE",
    "dashboard.py",
    "minivit",
    "pages",
    "pyproject.toml",
    "requirements.txt",
    "tests",
}
PAGES = [ROOT / "dashboard.py", *sorted((ROOT / "pages").glob("*.py"))]


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def module_of(path: Path) -> str:
    """The module of `minivit` that a file belongs to; a package counts as one."""
    first = path.relative_to(LIBRARY).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in the file; relative ones are refused."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[str]:
    """Modules of `minivit` that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("minivit.")}


def test_every_module_is_part_of_the_import_order():
    files = [path for path in sources(LIBRARY) if path != LIBRARY / "__init__.py"]
    assert {module_of(path) for path in files} <= set(ORDER)
    assert not imports(LIBRARY / "__init__.py")


@pytest.mark.parametrize("path", sources(LIBRARY), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    module = module_of(path)
    if module == "__init__":
        return
    assert ours(path) <= {*ALONE.get(module, ORDER[: ORDER.index(module)]), module}


def test_the_library_and_figures_do_not_import_what_they_must_not_know():
    for path in sources(LIBRARY):
        assert not {name.split(".")[0] for name in imports(path)} & {"streamlit", "pages", "dashboard", "tests"}, path
    for path in sources(LIBRARY / "figures"):
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "pathlib", "os", "io"}, path


def test_nothing_heavy_is_imported_before_it_is_needed():
    everything = ", ".join(f"minivit.{module_of(path)}" for path in sources(LIBRARY) if path.stem != "__main__")
    code = (
        "import sys, minivit.config, minivit.figures\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        f"import {everything}\n"
        "for name in ('streamlit', 'optuna', 'bertviz', 'torchvision', 'transformers', 'matplotlib'):\n"
        "    assert name not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sources(LIBRARY), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_the_library_exceeds_320_lines_and_each_has_a_docstring(path):
    text = path.read_text()
    assert text.count("\n") <= 320 or path.name in {"charts.py", "run.py", "study.py"}
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_short_and_entirely_inside_its_frame(path):
    text = path.read_text()
    assert text.count("\n") < 100
    docstring, *body = ast.parse(text).body
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)
    if path.name == "dashboard.py":  # which the server imports for its `app` alone
        *_, main = body
        assert isinstance(main, ast.If) and ast.unparse(main.test) == "__name__ == '__main__'"
        body = main.body
    (statement,) = [
        part for part in body if not isinstance(part, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign)
    ]
    assert isinstance(statement, ast.With) and statement is body[-1]
    (opened,) = [item.context_expr for item in statement.items]
    assert isinstance(opened, ast.Call) and isinstance(opened.func, ast.Name) and opened.func.id == "frame"


def test_only_the_agreed_names_are_tracked_at_the_top_level():
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    tops = {name.split("/")[0] for name in listed if name}
    assert "minivit" in tops
    assert not {name for name in tops if not name.startswith(".")} - TRACKED


def requirements(name: str) -> dict[str, Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    every = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {each.name.lower().replace("_", "-"): each for each in every}


def test_the_locked_versions_are_allowed_by_the_requirements() -> None:
    locked = requirements(".requirements.lock")
    for name, requirement in requirements("requirements.txt").items():
        (version,) = locked[name].specifier
        assert version.operator == "==" and requirement.specifier.contains(version.version), name

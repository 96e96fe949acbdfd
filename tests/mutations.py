"""Do the tests notice when the code is wrong? Changes one place of the code at a time, in a copy, and runs the tests.

    python -m tests.mutations --number 30 --seed 0

The places are drawn evenly over the folders of `minivit` and `pages`. For a change that no test notices, either a test
is missing, or the code does the same as before. A change that is noticed takes about a minute, since the tests that
reach its file in the fewest imports run first; one that is not takes a complete run."""

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TESTS, COMPONENTS = ROOT / "tests", ROOT / "pages/parts/components"
PAGE_TESTS = TESTS / "app", TESTS / "browser", TESTS / "faults"
SLOWNESS = {"unit": 0, "app": 1, "browser": 2, "faults": 3}  # folders of tests, in steps of `nearest_tests`
OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", ">="),
    ast.LtE: ("<=", ">"),
    ast.Gt: (">", "<="),
    ast.GtE: (">=", "<"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: (" in ", " not in "),
    ast.Is: (" is ", " is not "),
    ast.And: (" and ", " or "),
    ast.Or: (" or ", " and "),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
}
JAVASCRIPT_OPERATORS = {
    " < ": " >= ",
    " > ": " <= ",
    " === ": " !== ",
    " && ": " || ",
    " || ": " && ",
    " + ": " - ",
    " - ": " + ",
}


class Mutation(NamedTuple):
    """A place of a file, from `start` to `end` in characters, and the text that replaces it."""

    path: Path
    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]

    def describe(self) -> str:
        """File, line, and the line as it becomes."""
        source = (ROOT / self.path).read_text("utf-8")
        number = source.count("\n", 0, self.start)
        lines = source.splitlines()[number], self.apply(source).splitlines()[number]
        return f"{self.path}:{number + 1}\n    - {lines[0].strip()}\n    + {lines[1].strip()}"


class PythonSource:
    """The text of a file, in which nodes of the syntax tree are found."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, (ROOT / path).read_text("utf-8")
        self.lines = self.text.encode().splitlines(keepends=True)  # the tree counts bytes

    def _position(self, line: int, column: int) -> int:
        return len((b"".join(self.lines[: line - 1]) + self.lines[line - 1][:column]).decode())

    def span(self, node: ast.expr) -> tuple[int, int]:
        """First character and the one after the last."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._position(node.lineno, node.col_offset), self._position(node.end_lineno, node.end_col_offset)

    def replace(self, node: ast.expr, text: str) -> Mutation:
        return Mutation(self.path, *self.span(node), text.format(self.text[slice(*self.span(node))]))

    def replace_operator(self, left: ast.expr, operator: ast.AST, right: ast.expr) -> Iterator[Mutation]:
        before, after = OPERATORS.get(type(operator), ("", ""))
        start, end = self.span(left)[1], self.span(right)[0]
        if before and (place := self.text.find(before, start, end)) >= 0:
            yield Mutation(self.path, place, place + len(before), after)


def python_mutations(path: Path) -> Iterator[Mutation]:
    """Other operators and numbers, negated conditions, and calls that are left out."""
    source = PythonSource(path)
    for node in ast.walk(ast.parse(source.text)):
        match node:
            case (
                ast.Compare(left, [operator], [right])
                | ast.BinOp(left, operator, right)
                | ast.BoolOp(operator, [left, right, *_])
            ):
                yield from source.replace_operator(left, operator, right)
            case ast.Constant(int(value) | float(value)) if path.parts[0] == "minivit" and not isinstance(value, bool):
                if abs(value) < 100:  # one more changes larger ones by less than a percent; on pages, most are sizes
                    yield source.replace(node, repr(value + 1))
            case ast.If(test) | ast.IfExp(test) | ast.While(test):
                yield source.replace(test, "not ({})")
            case ast.Expr(ast.Call() as call):
                yield source.replace(call, "None")


def javascript_mutations(path: Path) -> Iterator[Mutation]:
    source = (ROOT / path).read_text("utf-8")
    for before, after in JAVASCRIPT_OPERATORS.items():
        for place in re.finditer(re.escape(before), source):
            line = source[source.rfind("\n", 0, place.start()) + 1 : place.start()]
            if "//" not in line:
                yield Mutation(path, place.start(), place.end(), after)


def sample_mutations(number: int, seed: int) -> list[Mutation]:
    """One place of each folder and language in turn, in random order, until there are enough."""
    by_folder: dict[str, list[Mutation]] = defaultdict(list)
    for pattern, mutations in {"*.py": python_mutations, "*.js": javascript_mutations}.items():
        for path in sorted([*ROOT.glob(f"minivit/**/{pattern}"), *ROOT.glob(f"pages/**/{pattern}")]):
            by_folder[f"{path.parent}/{pattern}"].extend(mutations(path.relative_to(ROOT)))
    generator = random.Random(seed)
    names = sorted(name for name, places in by_folder.items() if places)
    generator.shuffle(names)
    return [generator.choice(by_folder[names[index % len(names)]]) for index in range(number)]


@cache
def resolve(module: str, name: str) -> Path | None:
    """The file of this project that defines `name` of a module; the module's own file where it imports no such name."""
    folder = ROOT / module.replace(".", "/")
    for path in (folder / f"{name}.py", folder / name / "__init__.py", folder.with_suffix(".py")):
        if path.is_file():
            return path
    init = folder / "__init__.py"
    if not init.is_file():
        return None
    for node in ast.walk(ast.parse(init.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return resolve(str(node.module), name)
    return init


@cache
def neighbors(path: Path) -> set[Path]:
    """The files that a file imports or names in a string: modules, scripts beside it, pages, and components."""
    files: set[Path | None] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.ImportFrom(module=str(module)):
                files |= {resolve(module, alias.name) for alias in node.names}
            case ast.Import():
                files |= {resolve(alias.name, "__main__") for alias in node.names}
            case ast.Constant(str(text)) if re.fullmatch(r"(minivit|pages|tests)[.\w]*", text):
                files |= {resolve(text, "__main__"), resolve(*text.rpartition(".")[::2])}
            case ast.Constant(str(text)) if path.parent in PAGE_TESTS and re.fullmatch(r"\w+(\.py)?", text):
                names = ROOT / text, path.parent / text, ROOT / f"pages/{text}.py", COMPONENTS / text / "__init__.py"
                files |= {name for name in names if name.is_file() and name.suffix == ".py"}
    return {file for file in files if file}


def distances(test: Path) -> dict[Path, int]:
    """In how many steps each file is reached from a file of tests, and one more from the fixtures beside it."""
    reached, steps = {test: 0, test.with_name("conftest.py"): 1}, [test, test.with_name("conftest.py")]
    for path in steps:  # which grows
        for neighbor in (neighbors(path) if path.is_file() else set()) - reached.keys():
            reached[neighbor] = reached[path] + 1
            steps.append(neighbor)
    return reached


def nearest_tests(path: Path) -> Iterator[list[str]]:
    """Paths for pytest: the tests that reach a file in the fewest steps and take the least time; then all others."""
    user, names = ROOT / path, {*path.stem.split("_"), *path.parent.name.split("_")}
    if path.suffix == ".js":
        user = next(user.parent.glob("__init__.py"), user.with_name("component.py"))
    groups: dict[int, list[str]] = defaultdict(list)
    for test in sorted(TESTS.rglob("test_*.py")):
        folder = test.relative_to(TESTS).parts[0]
        is_namesake = bool(names & {*test.stem.split("_")})
        steps = 1 if is_namesake else distances(test).get(user, 9)
        runs_it = path.suffix == ".py" or folder == "browser" or (folder == "unit" and is_namesake)
        groups[steps + SLOWNESS[folder] + (0 if runs_it else 20)].append(str(test.relative_to(ROOT)))
    yield from (groups[steps] for steps in sorted(groups))


def copy_project(folder: Path) -> Path:
    """A copy of the project without its environment, runs, data and caches."""

    def left_out(directory: str, names: list[str]) -> list[str]:
        own = {".git", ".venv", "runs", "data"} if Path(directory) == ROOT else set()
        return [name for name in names if name in own or name == "__pycache__" or name.endswith("_cache")]

    return Path(shutil.copytree(ROOT, folder / "copy", ignore=left_out))


def run_tests(copy: Path, *arguments: str) -> str:
    """What pytest prints as failed, or that it did not end within 20 minutes; empty if the tests pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    try:
        environment = {**os.environ, "MINIVIT_SECONDS": "20"}  # in a browser, most failures are waits in vain
        done = subprocess.run(command, cwd=copy, env=environment, timeout=1200, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return "no end within 20 minutes"
    if done.returncode in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        return ""
    failures = re.findall(r"^(?:FAILED|ERROR) \S+", done.stdout, re.MULTILINE)
    return failures[0] if failures else f"exit code {done.returncode}"


def find_failure(copy: Path, mutation: Mutation) -> str:
    """The first test that fails with the mutation, empty if all pass."""
    source = (copy / mutation.path).read_text("utf-8")
    (copy / mutation.path).write_text(mutation.apply(source), "utf-8")
    try:
        groups = nearest_tests(mutation.path)
        return next(filter(None, (run_tests(copy, "-n2", "--dist=loadfile", *paths) for paths in groups)), "")
    finally:
        (copy / mutation.path).write_text(source, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    caught = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_project(Path(folder))
        if failure := run_tests(copy, "--collect-only"):
            sys.exit(f"The tests cannot run in a copy: {failure}")
        for number, mutation in enumerate(sample_mutations(arguments.number, arguments.seed), 1):
            failure = find_failure(copy, mutation)
            caught += bool(failure)
            print(f"{number} {failure or 'NOT NOTICED'}: {mutation.describe()}", flush=True)
    print(f"{caught} of {arguments.number} caught")


if __name__ == "__main__":
    main()

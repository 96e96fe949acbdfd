"""Where the step cannot be compiled, training goes on uncompiled, and the log says why in one line."""

import os
import shutil
import sys
from contextlib import ExitStack

import pytest
import torch
from torch._inductor import config as inductor
from trainings import assert_same, trained

from minivit.engine import Events, compilation, train
from minivit.engine.compilation import cause_of, compile_or_fall_back
from minivit.runs import Run

# The real compiler, with a line of Python before it that makes it fail as users' compilers do.
COMPILER = """#!{python}
import subprocess, sys
arguments = sys.argv[1:]
{failure}
sys.exit(subprocess.call([{real!r}, *arguments]))
"""
NO_PYTHON_H = "arguments = [argument for argument in arguments if 'include/python3' not in argument]"
NO_OPENMP = "if '-fopenmp' in arguments: sys.exit(\"clang: error: unsupported option '-fopenmp'\")"
XCODE_SHIM = "sys.exit('xcode-select: note: No developer tools were found, requesting install.')"
# Segments that are too large for any memory, for which the loader has the same words as for a noexec folder.
NOEXEC = """
if arguments[-1] != '--version' and (path := arguments[arguments.index('-o') + 1]).endswith('.main.so'):
    subprocess.check_call([{real!r}, *arguments])
    with open(path, 'r+b') as library:
        num_segments = library.read(64)[56]
        for segment in range(num_segments):
            library.seek(64 + 56 * segment + 40)
            library.write((1 << 60).to_bytes(8, sys.byteorder))
    sys.exit()
"""


@pytest.fixture
def use_compiler(tmp_path, monkeypatch):
    """Lets Inductor compile by a failing compiler into an empty cache."""
    patches = ExitStack()

    def use(failure):
        compiler, real = tmp_path / "g++", shutil.which("g++") or shutil.which("clang++")
        compiler.write_text(COMPILER.format(python=sys.executable, failure=failure.format(real=real), real=real))
        compiler.chmod(0o755)
        settings = {"cpp.cxx": (None, str(compiler)), "cpp_cache_precompile_headers": False}  # which take longest
        patches.enter_context(inductor.patch(settings))
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))

    with patches:
        yield use


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (NO_PYTHON_H, "the C++ compiler cannot find Python.h; install Python's"),
        (NO_OPENMP, "the C++ compiler has no OpenMP"),
        (XCODE_SHIM, "this machine has no working C++ compiler"),
        (NOEXEC, "compiled code cannot be loaded"),
    ],
    ids=["no Python.h", "no OpenMP", "Xcode shim", "noexec"],
)
def test_where_compiling_fails_the_cause_is_reported_and_the_eager_function_is_called(
    use_compiler, capfd, failure, cause
):
    use_compiler(failure)
    capfd.readouterr()
    total, causes = torch.zeros(64), []

    def add(values):
        total.add_(values.sin())

    for _ in range(2):  # also where an earlier run has failed in this process
        call = compile_or_fall_back(add, add, [total], causes.append)
        call(torch.ones(64))
        call(torch.ones(64))
    assert len(causes) == 2 and all(text.startswith(cause) for text in causes)
    assert torch.equal(total, torch.ones(64).sin() * 4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [OSError("it cannot be loaded"), KeyboardInterrupt()])
def test_a_graph_that_fails_while_it_changes_the_weights_has_changed_nothing_also_after_a_resume(
    tiny, monkeypatch, every_step, capfd, error
):
    def broken(step, **options):
        def graph(*arguments):
            step(*arguments)
            os.write(2, b"a warning of Inductor")
            raise error

        return graph

    config = tiny.changed(drop_rate=0.3, ema=0.9)
    expected = trained(config)
    monkeypatch.setattr(torch, "compile", broken)
    run, lines = Run.create(config.changed(compile="on")), []

    def pause(what, done, total):
        if (what, done) == ("epoch 2", 2):
            run.request("pause")

    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            train(run.config, run, Events(log=lines.append))
    else:
        train(run.config, run, Events(progress=pause, log=lines.append))
        assert run.state.phase == "paused"
        train(run.config, run, Events(log=lines.append))
        line = "The step is not compiled, although the settings enable it: it cannot be loaded."
        assert lines.count(line) == 2
        assert_same(expected, run)
    os.write(2, b"stderr is back")
    assert capfd.readouterr().err == "stderr is back"


def test_a_step_that_auto_could_not_compile_is_reported_too(tiny, monkeypatch):
    monkeypatch.setattr(compilation, "COMPILE_SECONDS", 0)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: lambda *_: 1 / 0)
    lines = []
    run = Run.create(tiny)
    train(run.config, run, Events(log=lines.append))
    assert "The step is not compiled: division by zero." in lines
    assert_same(trained(tiny.changed(compile="off")), run)


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("a.cpp:1: error: no such type\n1 | x", "a.cpp:1: error: no such type"),
        ("a.cpp:5: fatal error: 'omp.h' file not found", "the C++ compiler has no OpenMP; install libomp"),
        ("Killed", "C++ compile error"),
    ],
)
def test_the_cause_of_a_failure_is_what_the_compiler_says(output, cause):
    error = RuntimeError(f"C++ compile error\n\nCommand:\ng++ -fopenmp a.cpp\n\nOutput:\n{output}")
    assert cause_of(error, "") == cause
    assert cause_of(RuntimeError("C++ compile error"), f"a warning\n{output}") == cause


def test_an_error_without_words_is_named_by_its_type():
    assert cause_of(RuntimeError(), "") == "RuntimeError"

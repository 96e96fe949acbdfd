"""Where the step cannot be compiled, training goes on uncompiled, and the log says why in one line."""

import os
import shutil
import sys
from contextlib import ExitStack

import pytest
import torch
from torch._inductor import config as inductor
from torch._inductor import cpu_vec_isa
from trainings import assert_same, trained

from minivit.engine import Events, compilation, train
from minivit.engine.compilation import cause_of
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
        cpu_vec_isa.pick_vec_isa()  # is remembered, and so is not what fails
        settings = {"cpp.cxx": (None, str(compiler)), "cpp_cache_precompile_headers": False}  # which take longest
        patches.enter_context(inductor.patch(settings))
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))

    with patches:
        yield use


@pytest.mark.parametrize(
    ("failure", "compile", "line"),
    [
        (NO_PYTHON_H, "auto", "The step is not compiled: the C++ compiler cannot find Python.h; install Python's"),
        (
            NO_OPENMP,
            "on",
            "The step is not compiled, although the settings enable it: the C++ compiler has no OpenMP",
        ),
        (XCODE_SHIM, "auto", "The step is not compiled: this machine has no working C++ compiler."),
        (
            NOEXEC,
            "on",
            "The step is not compiled, although the settings enable it: compiled code cannot be loaded",
        ),
    ],
    ids=["no Python.h", "no OpenMP", "Xcode shim", "noexec"],
)
def test_where_compiling_fails_training_continues_uncompiled_also_after_a_resume(
    tiny, use_compiler, monkeypatch, every_step, capfd, failure, compile, line
):
    use_compiler(failure)
    capfd.readouterr()
    monkeypatch.setattr(compilation, "COMPILE_SECONDS", 0)  # so that 'auto' compiles
    run, lines = Run.create(tiny.changed(compile=compile, depth=1, num_heads=1, optimizer="sgd")), []

    def pause(what, done, total):
        if (what, done) == ("epoch 2", 2):
            run.request("pause")

    train(run.config, run, Events(progress=pause, log=lines.append))
    assert run.state.phase == "paused"
    train(run.config, run, Events(log=lines.append))
    reported = [text for text in lines if text.startswith("The step")]
    assert len(reported) == 2 and all(text.startswith(line) for text in reported)
    assert capfd.readouterr() == ("", "")
    assert_same(trained(run.config.changed(compile="off")), run)


@pytest.mark.parametrize("error", [OSError("it cannot be loaded"), KeyboardInterrupt()])
def test_a_graph_that_fails_while_it_changes_the_weights_has_changed_nothing(tiny, monkeypatch, capfd, error):
    def broken(step, **options):
        def graph(*arguments):
            step(*arguments)
            os.write(2, b"a warning of Inductor")
            raise error

        return graph

    config = tiny.changed(drop_rate=0.3, ema=0.9, epochs=1)
    expected = trained(config)
    monkeypatch.setattr(torch, "compile", broken)
    run, lines = Run.create(config.changed(compile="on")), []
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            train(run.config, run, Events(log=lines.append))
    else:
        train(run.config, run, Events(log=lines.append))
        assert "The step is not compiled, although the settings enable it: it cannot be loaded." in lines
        assert_same(expected, run)
    os.write(2, b"stderr is back")
    assert capfd.readouterr().err == "stderr is back"


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

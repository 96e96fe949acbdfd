"""Where the step cannot be compiled, training goes on uncompiled, and the log says why in one line."""

import os
import shutil
import sys
from copy import deepcopy

import pytest
import torch
from torch._inductor import config as inductor
from trainings import assert_same, trained

from minivit.engine import Events, TrainStep, train
from minivit.engine.compile_step import compile_step, make_request
from minivit.engine.graphs import cause_of, compile_or_fall_back
from minivit.model import MiniViT
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
KILL_ALL = "import os, signal; os.killpg(0, signal.SIGKILL)"
XCODE_SHIM = "sys.exit('xcode-select: note: No developer tools were found, requesting install.')"
# Segments that are too large for any memory, for which the loader has the same words as for a noexec folder.
NOEXEC = """
if arguments[-1] != '--version' and (path := arguments[arguments.index('-o') + 1]).endswith('.wrapper.so'):
    subprocess.check_call([{real!r}, *arguments])
    with open(path, 'r+b') as library:
        num_segments = library.read(64)[56]
        for segment in range(num_segments):
            library.seek(64 + 56 * segment + 40)
            library.write((1 << 60).to_bytes(8, sys.byteorder))
    sys.exit()
"""


@pytest.fixture
def write_compiler(tmp_path, monkeypatch):
    """Writes a compiler that fails, and returns its path; Inductor's cache is empty."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))

    def write(failure):
        compiler, real = tmp_path / "g++", shutil.which("g++") or shutil.which("clang++")
        compiler.write_text(COMPILER.format(python=sys.executable, failure=failure.format(real=real), real=real))
        compiler.chmod(0o755)
        return str(compiler)

    return write


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (NO_OPENMP, "the C++ compiler has no OpenMP"),
        (XCODE_SHIM, "this machine has no working C++ compiler"),
        (NOEXEC, "compiled code cannot be loaded"),
    ],
    ids=["no OpenMP", "Xcode shim", "noexec"],
)
def test_a_failing_compiler_is_reported_by_its_cause(tiny, write_compiler, capfd, failure, cause):
    config = tiny.changed(depth=1, num_heads=1, optimizer="sgd")
    with inductor.patch({"cpp.cxx": (None, write_compiler(failure))}):
        result = compile_step(make_request(TrainStep(config, MiniViT(config.model))))
    assert result["cause"].startswith(cause)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("failure", "cause"),
    [(XCODE_SHIM, "this machine has no working C++ compiler"), (KILL_ALL, "its compilation ended with code -9")],
    ids=["no compiler", "out of memory"],
)
def test_where_compiling_fails_training_continues_uncompiled_with_a_line_in_the_log(
    tiny, write_compiler, wait_for_compiler, monkeypatch, capfd, failure, cause
):
    monkeypatch.setenv("CXX", write_compiler(failure))
    run, lines = Run.create(tiny.changed(compile="on")), []
    train(run.config, run, Events(log=lines.append))
    failures = [line for line in lines if line.startswith("The step")]
    assert failures == [f"The step is not compiled, although the settings enable it: {cause}."]
    assert capfd.readouterr() == ("", "")
    assert_same(trained(tiny.changed(compile="off")), run)


def test_where_compiling_in_this_process_fails_the_eager_function_is_called(write_compiler, capfd):
    total, causes = torch.zeros(64), []

    def add(values):
        total.add_(values.sin())

    settings = {"cpp.cxx": (None, write_compiler(NO_PYTHON_H)), "cpp_cache_precompile_headers": False}
    with inductor.patch(settings):
        for _ in range(2):  # also where an earlier run has failed in this process
            call = compile_or_fall_back(add, add, [total], causes.append)
            call(torch.ones(64))
            call(torch.ones(64))
    assert len(causes) == 2
    assert all(cause.startswith("the C++ compiler cannot find Python.h; install Python's") for cause in causes)
    assert torch.equal(total, torch.ones(64).sin() * 4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [OSError("it cannot be loaded"), KeyboardInterrupt()])
def test_a_graph_that_fails_while_it_changes_the_weights_has_changed_nothing(tiny, monkeypatch, capfd, error):
    def broken(step, **options):
        def graph(*arguments):
            step(*arguments)
            os.write(2, b"a warning of Inductor")
            raise error

        return graph

    config, arguments = tiny.changed(ema=0.9), (torch.rand(32, 3, 32, 32), torch.arange(32) % 2, torch.full((5,), 0.1))
    torch.manual_seed(0)
    model, causes = MiniViT(config.model), []
    step, plain = TrainStep(config, model), TrainStep(config, deepcopy(model))
    monkeypatch.setattr(torch, "compile", broken)
    step.compile(causes.append)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            step(*arguments)
    else:
        step(*arguments)
        plain(*arguments)
        assert causes == ["it cannot be loaded"]
        for name, tensor in step.tensors().items():
            assert torch.equal(tensor, plain.tensors()[name]), name
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

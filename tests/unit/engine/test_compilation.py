"""Where the step cannot be compiled, training goes on uncompiled, and the log says why in one line."""

import json
import os
import shutil
import signal
import sys
import time
from copy import deepcopy

import pytest
import torch
from torch._inductor import config as inductor
from trainings import assert_same, quiet, trained

from minivit.engine import Events, Interrupted, TrainStep, train
from minivit.engine.compile_errors import cause_of
from minivit.engine.compile_step import compile_step, make_request
from minivit.engine.compiler import Compiler
from minivit.engine.distributed import SINGLE_PROCESS
from minivit.engine.step_graph import compile_or_fall_back
from minivit.model import MiniViT
from minivit.runs import Run
from tests.forks import fork

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
# Libraries whose segments are too large for any memory, for which the loader has the same words as for a noexec folder.
NOEXEC = """
if '-o' in arguments:
    with open({library!r}, 'rb') as file:
        library = bytearray(file.read())
    for segment in range(library[56]):
        size = 64 + 56 * segment + 40
        library[size : size + 8] = (1 << 60).to_bytes(8, sys.byteorder)
    with open(arguments[arguments.index('-o') + 1], 'wb') as file:
        file.write(library)
    sys.exit()
"""


@pytest.fixture
def write_compiler(tmp_path, monkeypatch):
    """Writes a compiler that fails, and returns its path; Inductor's cache is empty."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))

    def write(failure):
        compiler, real = tmp_path / "g++", shutil.which("g++") or shutil.which("clang++")
        failure = failure.format(library=torch._C.__file__)
        compiler.write_text(COMPILER.format(python=sys.executable, failure=failure, real=real))
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
def test_a_failing_compiler_is_reported_by_its_cause(tiny, write_compiler, monkeypatch, capfd, failure, cause):
    def count(step, tensors, *_):  # instead of the step, which takes longer to compile
        tensors["sums"].add_(1)

    monkeypatch.setattr(TrainStep, "trace", count)
    with inductor.patch({"cpp.cxx": (None, write_compiler(failure))}):
        result = compile_step(make_request(TrainStep(tiny, MiniViT(tiny.model))))
    assert result["cause"].startswith(cause)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def write_compile_step(tmp_path, monkeypatch):
    """Writes a shell script that takes the place of the process that compiles, once it has read the request."""

    def write(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\nread request\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return write


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("""echo a warning; echo '{"cause": "this machine has no compiler"}'""", "this machine has no compiler"),
        ("echo a warning; kill -9 $$", "its compilation ended with code -9"),
    ],
    ids=["no compiler", "out of memory"],
)
def test_where_compiling_fails_training_continues_uncompiled_with_a_line_in_the_log(
    tiny, write_compile_step, wait_for_compiler, script, cause
):
    write_compile_step(script)
    run, lines = Run.create(tiny.changed(compile="on")), []
    train(run.config, run, Events(log=lines.append))
    failures = [line for line in lines if line.startswith("The step")]
    assert failures == [f"The step is not compiled, although the settings enable it: {cause}."]
    assert_same(trained(tiny.changed(compile="off")), run)


@pytest.fixture
def compiler_output(tmp_path):
    """A pipe; its end is reached once no compiler that writes into it is left."""
    os.mkfifo(tmp_path / "output")
    return tmp_path / "output"


def test_a_training_that_is_interrupted_ends_the_compilers_that_it_started(tiny, write_compile_step, compiler_output):
    write_compile_step(f"sleep 600 >{compiler_output}")
    run, outputs = Run.create(tiny.changed(compile="on")), []

    def stop(row):
        if row["epoch"] == 1:
            outputs.append(compiler_output.open("rb"))  # waits until the compiler has started
            raise Interrupted("stop")

    start = time.monotonic()
    train(run.config, run, Events(log=quiet, epoch_done=stop))
    with outputs[0] as output:
        assert output.read() == b"" and time.monotonic() - start < 300


COMPILE_STEP = """
import os, runpy, subprocess, sys
os.setsid()
os.dup2(os.open({requests!r}, os.O_RDONLY), 0)
sys.stdin = open(0)
subprocess.Popen(["sleep", "60"], stdout=os.open({output!r}, os.O_WRONLY))
runpy.run_module("minivit.engine.compile_step", run_name="__main__")
"""


def test_a_compilation_ends_with_the_compilers_that_it_started_when_its_training_is_killed(
    tiny, tmp_path, compiler_output
):
    requests = tmp_path / "requests"
    os.mkfifo(requests)
    process = fork(exec, COMPILE_STEP.format(requests=str(requests), output=str(compiler_output)), {})
    with requests.open("w") as file:
        json.dump(make_request(TrainStep(tiny, MiniViT(tiny.model))), file)
        file.write("\n")
        output = compiler_output.open("rb")  # waits until the compiler has started
    with output:
        assert output.read() == b""
    process.join()
    assert process.exitcode == -signal.SIGKILL


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


@pytest.mark.parametrize(("epochs", "is_started"), [(100, True), (6, False)])
def test_the_process_that_compiles_is_started_before_images_are_read_if_a_run_is_long(
    tiny, write_compile_step, epochs, is_started
):
    write_compile_step("exit")
    with Compiler(tiny.changed(epochs=epochs, compile="auto"), quiet) as compiler:
        compiler.prepare(torch.device("cpu"), SINGLE_PROCESS)
        process = compiler.process
        assert (process is not None) is is_started
        compiler.advance(TrainStep(tiny, MiniViT(tiny.model)), seconds_left=1.0)  # compiling does not pay off
        assert compiler.process is None and (process is None or process.returncode is not None)

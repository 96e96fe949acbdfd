"""A function compiled by torch.compile, or computed as it is where compiling fails, with the reason in one sentence."""

import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import TypeVar

import torch
from torch import Tensor

from minivit.config import TrainConfig
from minivit.machine import choose_threads

Result = TypeVar("Result")

COMPILE_SECONDS = 45  # Inductor's time for a step; about 5 where it finds the step in its cache
SAVED_SHARE = 0.6  # of a step that calling costs and a graph saves, measured for the article's model on a CPU

CAUSES = {  # what compilers, linkers and loaders print
    r"Python\.h": "the C++ compiler cannot find Python.h; install Python's headers (python3-dev or python3-devel)",
    r"-fopenmp|omp\.h|-lg?omp\b|libg?omp|'omp'": "the C++ compiler has no OpenMP; install libomp",
    r"xcode-select|xcrun|InvalidCxxCompiler|Failed to find C compiler": "this machine has no working C++ compiler",
    r"failed to map segment": "compiled code cannot be loaded, because the temporary folder is mounted noexec; set "
    "TORCHINDUCTOR_CACHE_DIR to another folder",
}


def should_compile(config: TrainConfig, device: torch.device, seconds_left: float) -> tuple[bool, str]:
    """Whether to compile the step, and why, as a clause; `seconds_left` is what plain steps would take to the end."""
    saved = SAVED_SHARE * seconds_left if is_overhead_bound(config, device) else 0
    reason = f"compiling takes about {COMPILE_SECONDS} s and would save about {saved:.0f} s of this run"
    if config.compile == "on":
        reason = "the settings ask for it"
    elif saved < COMPILE_SECONDS:
        return False, reason
    return (True, reason) if has_compiler(device) else (False, "this machine has no C++ compiler")


def is_overhead_bound(config: TrainConfig, device: torch.device) -> bool:
    """Whether calling operations takes much of a step: on a GPU, and for a tiny model on a CPU.

    The convolutions and matrices of a larger model take as long compiled as plain on a CPU.
    """
    return device.type == "cuda" or choose_threads(config.changed(threads=0)) == 1


def has_compiler(device: torch.device) -> bool:
    """Whether Inductor finds what it needs: Triton, which comes with torch for CUDA, or a C++ compiler."""
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++", "cl")
    return device.type == "cuda" or any(shutil.which(name) for name in compilers if name)


def compile_or_fall_back(
    function: Callable[..., Result],
    plain: Callable[..., Result],
    state: Sequence[Tensor],
    report: Callable[[str | None], None],
) -> Callable[..., Result]:
    """`function` as one graph, compiled at its first call; `plain`, which does the same, where that call fails.

    `state` are the tensors that the function changes in place: after a failure they are as they were before the call,
    and so are the random numbers to come. `report` gets the cause of the failure, or None.

    The graph is called with tensors of one shape only, so nothing is checked again at each call; that took half as
    long as the step.
    """
    options = {
        "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,
        "triton.cudagraphs": state[0].is_cuda,
    }
    graph = torch.compile(function, fullgraph=True, dynamic=False, options=options, isolate_recompiles=True)  # type: ignore[call-overload]
    call: Callable[..., Result] | None = None

    def first_call(*arguments: Tensor) -> Result:
        nonlocal call
        before = [tensor.clone() for tensor in state]
        output: list[str] = []
        try:
            with torch.random.fork_rng([state[0].device] if state[0].is_cuda else []), _stderr_to(output):
                result = graph(*arguments)
        except Exception as error:
            # Dynamo, Inductor, Triton, the compiler, the loader and the file system raise errors of all kinds. None of
            # them is a reason to end the training: the plain step needs nothing of theirs.
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
            call = plain
            report(cause_of(error, "".join(output)))
            return plain(*arguments)
        call = graph
        report(None)
        return result

    return lambda *arguments: (call or first_call)(*arguments)


def cause_of(error: Exception, output: str) -> str:
    """Why compiling failed, as a clause; `output` is what went to stderr."""
    error_text = str(error) or type(error).__name__
    text = re.sub(r"(?s)Command:\n.*?\nOutput:\n", "", f"{error_text}\n{output}")  # any command names OpenMP
    for pattern, cause in CAUSES.items():
        if re.search(pattern, text):
            return cause
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error: " in line), lines[0])[:300]


@contextmanager
def _stderr_to(output: list[str]) -> Iterator[None]:
    """Adds to `output` what is written to file descriptor 2, past sys.stderr, as compilers do; nothing is logged."""
    sys.stderr.flush()
    stderr, level = os.dup(2), logging.root.manager.disable
    logging.disable()
    try:
        with TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                file.seek(0)
                output.append(file.read().decode(errors="replace"))
    finally:
        logging.disable(level)
        os.dup2(stderr, 2)
        os.close(stderr)

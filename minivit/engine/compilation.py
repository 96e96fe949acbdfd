"""A function compiled by torch.compile, or computed as it is where compiling fails, with the reason in one sentence."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

CAUSES = {  # what compilers, linkers and loaders print
    r"Python\.h": "the C++ compiler cannot find Python.h; install Python's headers (python3-dev or python3-devel)",
    r"-fopenmp|omp\.h|-lg?omp\b|libg?omp|'omp'": "the C++ compiler has no OpenMP; install libomp",
    r"xcode-select|xcrun|InvalidCxxCompiler|Failed to find C compiler": "this machine has no working C++ compiler",
    r"failed to map segment": "compiled code cannot be loaded, because the temporary folder is mounted noexec; set "
    "TORCHINDUCTOR_CACHE_DIR to another folder",
}


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

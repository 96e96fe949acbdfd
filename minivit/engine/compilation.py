"""torch.compile with a fallback to eager execution, and the reason for it in one sentence."""

import inspect
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, TypeVar

import torch
from torch import Tensor

from minivit.config import TrainConfig
from minivit.machine import choose_threads, num_activations

Result = TypeVar("Result")

COMPILE_SECONDS = 20  # of CPU time until the compiled step is ready
SAVED_SHARE = 0.7  # of the time of a step with at most …
SAVED_ACTIVATIONS = 270_000  # …, as of `article`, and less of larger ones; measured on a CPU for 1, 2 and 4 layers
MIN_SAVED = 10  # seconds for which another core, which may have other work, is occupied

CAUSES = {  # by a pattern in the output of compiler, linker or loader
    r"Python\.h": "the C++ compiler cannot find Python.h; install Python's headers (python3-dev or python3-devel)",
    r"-fopenmp|omp\.h|-lg?omp\b|libg?omp|'omp'": "the C++ compiler has no OpenMP; install libomp",
    r"xcode-select|xcrun|InvalidCxxCompiler|Failed to find C compiler": "this machine has no working C++ compiler",
    r"failed to map segment": "compiled code cannot be loaded, because the temporary folder is mounted noexec; set "
    "TORCHINDUCTOR_CACHE_DIR to another folder",
}


def should_compile(config: TrainConfig, device: torch.device, seconds_left: float) -> tuple[bool, str]:
    """Whether to compile the step, and why, as a clause; `seconds_left` is the remaining time with eager steps."""
    saved = saved_share(config, device) * max(0, seconds_left - COMPILE_SECONDS)
    reason = f"compiling takes about {COMPILE_SECONDS} s, beside the training, and would save about {saved:.0f} s"
    if config.compile == "on":
        reason = "it is enabled in the settings"
    elif saved < MIN_SAVED:
        return False, reason
    return (True, reason) if has_compiler(device) else (False, "this machine has no C++ compiler")


def saved_share(config: TrainConfig, device: torch.device) -> float:
    """The share of a step's time that compilation saves, 0..1: launching operations, on a GPU or for a tiny model.

    On a CPU, the convolutions and matrix products of a larger model are not faster compiled than eager.
    """
    if device.type == "cuda":
        return SAVED_SHARE
    is_tiny = choose_threads(config.changed(threads=0)) == 1
    return SAVED_SHARE * min(1, SAVED_ACTIVATIONS / num_activations(config)) if is_tiny else 0


def has_compiler(device: torch.device) -> bool:
    """Whether Inductor's dependencies are there: Triton, which comes with torch for CUDA, or a C++ compiler."""
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++", "cl")
    return device.type == "cuda" or any(shutil.which(name) for name in compilers if name)


def compile_or_fall_back(
    function: Callable[..., Result],
    eager: Callable[..., Result],
    state: Sequence[Tensor],
    report: Callable[[str | None], None],
) -> Callable[..., Result]:
    """`function` as one graph, compiled at its first call; the equivalent `eager` if that call fails.

    `state` are the tensors that the function changes in place: after a failure they are restored, and so is
    the random state. `report` gets the cause of the failure, or None.

    All calls have tensors of the same shapes, so guards are skipped: checking them took half as long as the step. An
    older torch, which cannot keep the graphs of two runs in one process apart without guards, checks them.
    """
    options: dict[str, Any] = {"triton.cudagraphs": state[0].is_cuda}
    isolation: dict[str, Any] = {}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
        options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
        isolation = {"isolate_recompiles": True}
    graph = torch.compile(function, fullgraph=True, dynamic=False, options=options, **isolation)
    call: Callable[..., Result] | None = None

    def first_call(*arguments: Tensor) -> Result:
        nonlocal call
        before = [tensor.clone() for tensor in state]
        output: list[str] = []
        try:
            with torch.random.fork_rng([state[0].device] if state[0].is_cuda else []), capture_stderr(output):
                result = graph(*arguments)
        except Exception as error:
            # Dynamo, Inductor, Triton, the compiler, the loader and the file system raise errors of all kinds. None of
            # them is a reason to end the run: the eager step needs none of them.
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
            call = eager
            report(cause_of(error, "".join(output)))
            return eager(*arguments)
        call = graph
        report(None)
        return result

    return lambda *arguments: (call or first_call)(*arguments)


def cause_of(error: Exception, output: str) -> str:
    """Why compiling failed, as a clause; `output` is that of stderr."""
    error_text = str(error) or type(error).__name__
    text = re.sub(r"(?s)Command:\n.*?\nOutput:\n", "", f"{error_text}\n{output}")  # every command mentions OpenMP
    for pattern, cause in CAUSES.items():
        if re.search(pattern, text):
            return cause
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error: " in line), lines[0])[:300]


@contextmanager
def capture_stderr(output: list[str]) -> Iterator[None]:
    """Captures in `output` what is written to file descriptor 2, as by compilers; silences logging."""
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

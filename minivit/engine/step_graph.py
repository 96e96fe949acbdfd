"""The step as one graph, compiled by Inductor or recorded as a CUDA graph; the plain step if that fails."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from minivit.engine.compile_errors import capture_stderr, cause_of

Result = TypeVar("Result")

WARMUP_CALLS = 3  # in which libraries choose algorithms and allocate workspaces, which they cannot do in a CUDA graph


def compile_or_fall_back(
    function: Callable[..., Result],
    plain: Callable[..., Result],
    state: Sequence[Tensor],
    report: Callable[[str | None], None],
) -> Callable[..., Result]:
    """`function` as one graph, compiled at its first call; the equivalent `plain` if that fails.

    See `_prepare_or_fall_back` for `state` and `report`. All calls have tensors of the same shapes, so guards are
    skipped: checking them took half as long as the step. An older torch, which without guards cannot keep the graphs of
    two runs in one process apart, checks them.
    """
    options: dict[str, Any] = {"triton.cudagraphs": state[0].is_cuda}
    isolation: dict[str, Any] = {}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
        options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
        isolation = {"isolate_recompiles": True}
    graph = torch.compile(function, fullgraph=True, dynamic=False, options=options, **isolation)

    def prepare(*arguments: Tensor) -> Callable[..., Result]:
        graph(*arguments)
        return graph

    return _prepare_or_fall_back(prepare, plain, state, report)


def record_or_fall_back(
    function: Callable[..., Result], state: Sequence[Tensor], report: Callable[[str | None], None]
) -> Callable[..., Result]:
    """`function` as a CUDA graph, one launch instead of a few hundred, recorded at its first call in about a second.

    It needs no compiler. All calls have tensors of the same shapes. See `_prepare_or_fall_back`.
    """

    def prepare(*arguments: Tensor) -> Callable[..., Result]:
        inputs = [argument.clone() for argument in arguments]
        results = list[Result]()

        def run() -> None:
            results[:] = [function(*inputs)]

        replay = record_cuda_graph(run)

        def repeat(*arguments: Tensor) -> Result:
            for tensor, argument in zip(inputs, arguments, strict=True):
                tensor.copy_(argument)
            replay()
            return results[0]

        return repeat

    return _prepare_or_fall_back(prepare, function, state, report)


def record_cuda_graph(function: Callable[[], None]) -> Callable[[], None]:
    """The launches of `function` as a graph; calling it repeats them, with the same tensors."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_CALLS):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may gather a batch meanwhile
        function()
    return graph.replay


def _prepare_or_fall_back(
    prepare: Callable[..., Callable[..., Result]],
    plain: Callable[..., Result],
    state: Sequence[Tensor],
    report: Callable[[str | None], None],
) -> Callable[..., Result]:
    """What `prepare(*arguments)` makes of the first call's arguments, or `plain` if it raises an error.

    `state` are the tensors that a call changes in place: preparing leaves them, and the random state, as they were.
    `report` gets the cause of a failure, or None.
    """
    call: Callable[..., Result] | None = None

    def first_call(*arguments: Tensor) -> Result:
        nonlocal call
        before = [tensor.clone() for tensor in state]
        output: list[str] = []
        try:
            with torch.random.fork_rng([state[0].device] if state[0].is_cuda else []), capture_stderr(output):
                call, cause = prepare(*arguments), None
        except Exception as error:
            # Dynamo, Inductor, Triton, CUDA, the compiler, the loader and the file system raise errors of all kinds.
            # None of them is a reason to end the run: the plain step needs none of them.
            call, cause = plain, cause_of(error, "".join(output))
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        report(cause)
        return call(*arguments)

    return lambda *arguments: (call or first_call)(*arguments)

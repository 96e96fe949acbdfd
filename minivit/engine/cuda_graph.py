"""The plain step as a CUDA graph: one launch instead of a few hundred, in about a second and without a compiler."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minivit.engine.compilation import Result, cause_of

WARMUP_CALLS = 3  # in which libraries choose algorithms and allocate workspaces, which they cannot do in a graph


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


def record_or_fall_back(
    function: Callable[..., Result], state: Sequence[Tensor], report: Callable[[str | None], None]
) -> Callable[..., Result]:
    """`function` as a graph, recorded at its first call; `function` itself if that fails.

    `state` are the tensors that the function changes in place: recording leaves them, and the random state, as they
    were. `report` gets the cause of a failure, or None. All calls have tensors of the same shapes.
    """
    call: Callable[..., Result] | None = None

    def first_call(*arguments: Tensor) -> Result:
        nonlocal call
        inputs, results = [argument.clone() for argument in arguments], list[Result]()
        before = [tensor.clone() for tensor in state]

        def run() -> None:
            results[:] = [function(*inputs)]

        try:
            with torch.random.fork_rng([state[0].device] if state[0].is_cuda else []):
                replay = record_cuda_graph(run)
        except Exception as error:  # CUDA and its libraries raise errors of all kinds; the plain step needs no graph
            call = function
            report(cause_of(error, ""))
        else:

            def repeat(*arguments: Tensor) -> Result:
                for tensor, argument in zip(inputs, arguments, strict=True):
                    tensor.copy_(argument)
                replay()
                return results[0]

            call = repeat
            report(None)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        return call(*arguments)

    return lambda *arguments: (call or first_call)(*arguments)

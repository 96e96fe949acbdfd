"""`python -m minivit.engine.compile_step`: compiles a train step into a shared library, for `Compiler`.

Reads the request, one line of JSON, from its standard input, and prints {"library": path} or {"cause": clause}. It ends
when its input ends, and so also when the process that requested the library has been killed.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from threading import Thread
from typing import Any

if __name__ == "__main__":
    gc.disable()  # what it makes is needed to the end

import torch
from torch import Tensor

from minivit.config import TrainConfig
from minivit.engine.compile_errors import capture_stderr, cause_of
from minivit.engine.schedule import epoch_scalars
from minivit.engine.step import TrainStep
from minivit.engine.whitening import add_whitening
from minivit.fused import token_pixels
from minivit.model import MiniViT

INDUCTOR = {
    "fallback_random": True,  # dropout of the plain step
    # The others take compilation from 64 to 17 s next to other load, and the step is as fast.
    "aot_inductor.compile_wrapper_opt_level": "O0",  # of the code that calls the kernels
    "aot_inductor.precompile_headers": False,  # which are included once
    "cpp_cache_precompile_headers": False,
    "cpp.vec_isa_ok": True,  # does not compile a test for every vector extension of the CPU
}


def make_request(step: TrainStep) -> dict[str, Any]:
    """What determines the compiled step, besides the program, as JSON."""
    config = step.config.model_dump(mode="json")
    return {"config": config, "in_patches": step.forward.in_patches, "num_threads": torch.get_num_threads()}


def compile_step(request: dict[str, Any]) -> dict[str, str]:
    """Compiles the step of a request; the path of its library, or the cause of a failure as a clause."""
    output: list[str] = []
    try:
        with capture_stderr(output):
            return {"library": compile_library(request)}
    except Exception as error:
        # Inductor, the compiler, the loader and the file system raise errors of all kinds
        return {"cause": cause_of(error, "".join(output))}


def compile_library(request: dict[str, Any]) -> str:
    """Compiles the step to a shared library; its path, in Inductor's cache.

    Its function takes `TrainStep.tensors`, some of which it changes in place, and then the arguments of the step.
    """
    from torch._inductor import aot_compile
    from torch.fx.experimental.proxy_tensor import make_fx

    config = TrainConfig(**request["config"])
    torch.set_num_threads(request["num_threads"])
    model = MiniViT(config.model)
    if config.whiten:
        add_whitening(model, torch.eye(model.config.in_chans * model.config.patch_size**2))
    weights = torch.ones(config.model.num_classes) if config.class_balance == "weights" else None
    step = TrainStep(config, model, in_patches=request["in_patches"], class_weights=weights)
    tensors = step.tensors()
    arguments = (*tensors.values(), *example_arguments(config, request["in_patches"]))

    def function(*arguments: Tensor) -> tuple[()]:
        batch, target, scalars = arguments[len(tensors) :]
        step.trace(dict(zip(tensors, arguments, strict=False)), batch, target, scalars)
        return ()

    path = aot_compile(make_fx(function, tracing_mode="fake")(*arguments), arguments, options=INDUCTOR)
    assert isinstance(path, str)
    load(path, tensors)(*arguments[len(tensors) :])  # a library that crashes does so here, not in the training
    return path


def load(path: str, tensors: dict[str, Tensor]) -> Callable[[Tensor, Tensor, Tensor], object]:
    """The step in a library, which changes these `TrainStep.tensors`."""
    run = torch._C._aoti.AOTIModelContainerRunnerCpu(path, 1).run
    state = list(tensors.values())
    return lambda *arguments: run([*state, *arguments])


def example_arguments(config: TrainConfig, in_patches: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A batch, its target and scalars, as the step gets them."""
    vit = config.model
    size = config.batch_size
    images = torch.rand(size, vit.in_chans, vit.img_size, vit.img_size)
    if in_patches:
        images = token_pixels((255 * images).byte(), vit.patch_size)
    mixes = config.mixup > 0 or config.cutmix > 0
    target = torch.full((size, vit.num_classes), 1 / vit.num_classes) if mixes else torch.zeros(size).long()
    return images, target, epoch_scalars(config, 1, [size])[0]


def end_with_input() -> None:
    """Ends this process and the compilers that it started at the end of standard input."""
    while os.read(0, 1):
        pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    from torch._inductor import compile_fx  # noqa: F401, takes seconds, in which the training reads its images

    if line := sys.stdin.readline():
        Thread(target=end_with_input, daemon=True).start()
        print(json.dumps(compile_step(json.loads(line))), flush=True)

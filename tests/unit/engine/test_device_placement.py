"""On a GPU, of which fake tensors take the place: all tensors of a step are on it, and the CPU never waits for it."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minivit.config import preset
from minivit.data import BatchSource, batches, load_split
from minivit.data.augment import _affine_source, _operations
from minivit.engine import Training, training
from minivit.inference import logits
from minivit.model import MiniViT

GPU = torch.device("cuda", 0)
HOST = (
    "bincount",
    "randint",
    "randperm",
    "multinomial",
    "argsort",
)  # whose results Python reads; all are computed on the CPU


class WaitError(Exception):
    """The CPU would wait for the GPU."""


class NoWaiting(TorchDispatchMode):
    """Raises WaitError where a tensor is copied between CPU and GPU unless it is pinned and nobody waits.

    Fake tensors themselves raise where Python reads a value, where a result's size depends on values, and where an
    operation has tensors on two devices.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            devices = {leaf.device.type for leaf in tree_leaves((args, result)) if isinstance(leaf, torch.Tensor)}
            if len(devices) > 1 and not kwargs.get("non_blocking"):
                raise WaitError(f"{func} between {devices}")
        return result


def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with real tensors, as on the CPU beside a real GPU."""

    @wraps(function)
    def real(*args: Any, **kwargs: Any) -> Any:
        with unset_fake_temporarily():
            return function(*args, **kwargs)

    return real


def move(model: nn.Module, device: torch.device) -> nn.Module:
    """`model.to(device)` for a fake device; the weights have no values there."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(torch.empty_like(parameter, device=device))
        for name, buffer in module._buffers.items():
            module._buffers[name] = torch.empty_like(buffer, device=device)
    return model


def gather(source: BatchSource, indices: torch.Tensor) -> torch.Tensor:
    """Images from a thread of real tensors, as the real ones are pinned, which needs a driver."""
    return torch.zeros((len(indices), *source.images.shape[1:]), dtype=torch.uint8)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in HOST:
        monkeypatch.setattr(torch, name, on_host(getattr(torch, name)))
    for name in ("initial_model", "token_pixels"):
        monkeypatch.setattr(training, name, on_host(getattr(training, name)))
    monkeypatch.setattr(MiniViT, "to", move)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    # Backward needs a driver; the gradient of a tensor is where the tensor is.
    monkeypatch.setattr(torch.autograd, "grad", lambda loss, parameters: [torch.empty_like(p) for p in parameters])
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
    for function in (_operations, _affine_source):  # they keep fake tensors
        function.cache_clear()


SMALL = {
    **{"dataset": "shapes", "classes": ("circle", "star"), "images_per_class": 15, "batch_size": 8},
    **{"embed_dim": 16, "num_heads": 2, "warmup_epochs": 0, "epochs": 1, "compile": "off"},
}


@pytest.mark.parametrize(
    ("name", "gpu_share"), [("article", 0.5), ("quick", 0.5), ("strong", 0.5), ("gpu", 0.5), ("article", 0), ("gpu", 0)]
)
def test_in_an_epoch_no_operation_mixes_devices_and_the_cpu_never_waits_for_the_gpu(
    name, gpu_share, fake_gpu, monkeypatch
):
    monkeypatch.setattr(batches, "GPU_SHARE", gpu_share)
    monkeypatch.setattr(BatchSource, "_gather", gather)
    depth = min(2, preset(name).model.depth)
    config = preset(name).changed(**SMALL, depth=depth, drop_rate=0.1 if name == "gpu" else 0)
    run = Training(config, GPU, *on_host(load_split)(config))
    with NoWaiting():
        steps = 0
        for batch in run.batches(1):
            assert all(isinstance(tensor, FakeTensor) and tensor.device == GPU for tensor in batch)
            run.train_step(*batch)
            steps += 1
    assert steps == run.steps_per_epoch and run.train_step.dtype == torch.bfloat16
    outputs = logits(run.model, run.test_source.images, run.in_patches)
    assert outputs.device == GPU and outputs.shape == (len(run.test_set), 2)

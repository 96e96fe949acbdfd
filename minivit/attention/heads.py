"""Statistics of every head over many images, and the accuracy without each head.

B images, L layers, H heads, N tokens with CLS first, the last n are the patches.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivit.attention.maps import batches, to_model
from minivit.attention.metrics import distance
from minivit.fused import forward_cls
from minivit.inference import eval_mode
from minivit.model import MiniViT
from minivit.stats import paired_change


@dataclass(frozen=True)
class HeadStatistics:
    """The heads of a model, mean over images: attention distance in pixels (L, H), and CLS maps (L, H, n)."""

    distance: NDArray[np.float32]
    cls_maps: NDArray[np.float32]


def head_statistics(model: MiniViT, images: Tensor) -> HeadStatistics:
    """Mean attention distance and mean CLS map of every head over images (B, C, H, W)."""
    L, H = model.config.depth, model.config.num_heads
    device = model.mean.device
    P = model.config.num_prefix_tokens
    distances = torch.zeros(L, H, device=device)
    maps = torch.zeros(L, H, model.config.num_patches, device=device)
    with eval_mode(model):
        for batch in batches(model, images):
            _, layers = model(to_model(model, batch), return_attn=True)
            for layer, attn in enumerate(layers):
                distances[layer] += distance(attn, model.config.patch_size, P).sum(0) / len(images)
                maps[layer] += attn[:, :, 0, P:].sum(0) / len(images)
    return HeadStatistics(distances.cpu().numpy(), maps.cpu().numpy())


@dataclass(frozen=True)
class HeadEffect:
    """Accuracy with one head ablated, and the change with its 95% interval; all 0..1."""

    accuracy: float
    change: float
    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class HeadAblation:
    """Whether predictions are correct with each head ablated (L, H, B), and with all heads (B,)."""

    ablated: NDArray[np.bool_]
    complete: NDArray[np.bool_]

    def effect(self, layer: int, head: int) -> HeadEffect:
        ablated = self.ablated[layer, head]
        total = len(self.complete)
        gained, lost = int((ablated & ~self.complete).sum()), int((self.complete & ~ablated).sum())
        return HeadEffect(float(ablated.mean()), (gained - lost) / total, *paired_change(gained, lost, total))

    def effects(self) -> dict[tuple[int, int], HeadEffect]:
        return {(layer, head): self.effect(layer, head) for layer, head in np.ndindex(self.ablated.shape[:2])}


def head_effects(
    model: MiniViT, images: Tensor, labels: Tensor, report: Callable[[float], None] = lambda share: None
) -> HeadAblation:
    """Whether predictions for images (B, C, H, W) are correct with each head ablated, and with all heads.

    An ablated head's output is set to zero before `attn.proj`, one head at a time. Michel et al. (1905.10650). The
    layers before it are computed once. `report` is called with the fraction done, 0..1.
    """
    L, H = model.config.depth, model.config.num_heads
    device = model.mean.device
    ablated: list[Tensor] = []
    complete: list[Tensor] = []
    size = len(next(batches(model, images)))
    masks = ~torch.eye(L * H, dtype=torch.bool, device=device).view(L, H, L, H)  # a mask for each head
    with eval_mode(model):
        for batch, target in zip(images.split(size), labels.to(device).split(size), strict=True):
            logits, out = model.forward_tokens(model.embed(to_model(model, batch)), ["tokens"])
            complete.append(logits.argmax(1) == target)
            correct = []
            for index, (layer, head) in enumerate(np.ndindex(L, H)):
                outputs, _ = forward_cls(model, out["tokens"][layer], masks[layer, head], first=layer)
                correct.append(outputs.argmax(1) == target)
                report((len(ablated) + index / (L * H)) * size / len(images))
            ablated.append(torch.stack(correct).view(L, H, -1))
    return HeadAblation(torch.cat(ablated, dim=-1).cpu().numpy(), torch.cat(complete).cpu().numpy())

"""What a run looks at from its untrained model on: CLS maps at every kept checkpoint, and figures that follow them.

M checkpoints, B images, L layers, H heads, n patches. A layer has S = H + 2 maps an image: one a head, then the mean
and the maximum over heads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivit.attention.maps import (
    Head,
    cls_map,
    divergence,
    entropy,
    eval_mode,
    image_dependence,
    image_share,
    to_model,
)
from minivit.fused import forward_cls
from minivit.model import MiniViT
from minivit.runs import Checkpoint

LOOK_BATCH = 16  # the whole attention of a layer is in memory at once: 2 MB an image for 257 tokens and 8 heads

MEASURES = {
    "entropy": "How evenly a map is spread: 1 is uniform, 0 is all on one patch. Mean over the images.",
    "divergence": "How far a map is from the untrained model's of the same image: Jensen–Shannon divergence in bits, "
    "0 the same, 1 no patch in common. Mean over the images.",
    "image dependence": "1 − the mean correlation between the maps of every two images: 0 where all images have the "
    "same pattern, however faint it is.",
    "image share": "The share of a map that lies elsewhere than in the average map of all images: near 0 where "
    "attention does not move with the image.",
}


@dataclass(frozen=True)
class Look:
    """Probabilities (B, K) and CLS maps (B, L, S, n) of B images at one checkpoint."""

    probs: NDArray[np.float32]
    maps: NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """Figures of the maps of many images at one checkpoint: each of `MEASURES` (L, S); the mean map (L, S, n)."""

    figures: dict[str, NDArray[np.float32]]
    average: NDArray[np.float32]


@dataclass(frozen=True)
class History:
    """One layer at M checkpoints: chosen maps of B images (M, B, S, n), probabilities (M, B, K), and figures of many.

    `average` (M, S, n) and `figures`, (M, S) by name, are of a larger fixed set of images. `left_out` are checkpoints
    whose weights could not be read.
    """

    checkpoints: list[Checkpoint]
    maps: NDArray[np.float32]
    probs: NDArray[np.float32]
    average: NDArray[np.float32]
    figures: dict[str, NDArray[np.float32]]
    left_out: list[Checkpoint]


def all_heads(num_heads: int) -> list[Head]:
    """The S maps of a layer in their order."""
    return [*range(num_heads), "mean", "max"]


def look(model: MiniViT, images: Tensor) -> Look:
    """What the model says of images uint8 (B, C, H, W), and where CLS looks in every layer and head."""
    heads = all_heads(model.config.num_heads)
    probs, maps = [], []
    with eval_mode(model):
        for batch in images.split(LOOK_BATCH):
            logits, attn = forward_cls(model, model.embed(to_model(model, batch)))
            probs.append(logits.softmax(1))
            maps.append(torch.stack([torch.stack([cls_map(one, head) for head in heads], 1) for one in attn], 1))
    return Look(torch.cat(probs).cpu().numpy(), torch.cat(maps).cpu().numpy())


def measure(now: Look, untrained: Look) -> Measured:
    """Figures of what is looked at now, and of how far that is from the untrained model's maps of the same images."""
    maps, before = (torch.from_numpy(one.maps).movedim(0, 2) for one in (now, untrained))  # (L, S, B, n)
    values = np.array(
        [[_figures(*pair) for pair in zip(*layer, strict=True)] for layer in zip(maps, before, strict=True)]
    )
    figures = {name: values[..., i].astype(np.float32) for i, name in enumerate(MEASURES)}
    return Measured(figures, maps.mean(2).numpy())


def gather(
    seen: Mapping[Checkpoint, tuple[Look, Measured]], layer: int, heads: Sequence[Head], left_out: list[Checkpoint]
) -> History:
    """One layer of what was seen at each checkpoint, in order, for some of its maps."""
    looks, measured = zip(*seen.values(), strict=True)
    known = all_heads(looks[0].maps.shape[2] - 2)
    chosen = [known.index(head) for head in heads]
    return History(
        checkpoints=list(seen),
        maps=np.stack([one.maps[:, layer, chosen] for one in looks]),
        probs=np.stack([one.probs for one in looks]),
        average=np.stack([one.average[layer, chosen] for one in measured]),
        figures={name: np.stack([one.figures[name][layer, chosen] for one in measured]) for name in MEASURES},
        left_out=left_out,
    )


def _figures(maps: Tensor, untrained: Tensor) -> tuple[float, ...]:
    """The `MEASURES` of the maps of all images (B, n), in their order."""
    return (
        float(entropy(maps).mean()),
        float(divergence(maps, untrained).mean()),
        image_dependence(maps),
        image_share(maps),
    )

"""Attention over training: CLS maps of the same images at every saved checkpoint, and metrics of these maps.

M checkpoints, B images, L layers, H heads, n patches. A layer has S = H + 2 maps per image: one per head, then the
mean and the maximum over heads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivit.attention.maps import Head, batches, probabilities, to_model
from minivit.attention.metrics import between_image_variation, divergence, entropy, image_specific_share
from minivit.fused import single_query_attention
from minivit.inference import eval_mode
from minivit.model import Block, MiniViT
from minivit.runs import Checkpoint

MAP_METRICS = {
    "entropy": "How uniform a map is: 1 is uniform, 0 is all on one patch. Mean over the images.",
    "divergence": "Jensen–Shannon divergence in bits between a map and that of the same image at epoch 0: "
    "0 is identical, 1 is no patch in common. Mean over the images.",
    "between-image variation": "1 − the mean correlation between the maps of every two images: 0 if all images have "
    "the same pattern, however faint it is.",
    "image-specific share": "The share of a map that differs from the mean map of all images: near 0 if attention "
    "does not change with the image.",
}


@dataclass(frozen=True)
class Snapshot:
    """Probabilities (B, K) and CLS maps (B, L, S, n) of B images at one checkpoint."""

    probs: NDArray[np.float32]
    maps: NDArray[np.float32]


@dataclass(frozen=True)
class MapMetrics:
    """Metrics of the maps of many images at one checkpoint: each of `MAP_METRICS` (L, S); the mean map (L, S, n)."""

    values: dict[str, NDArray[np.float32]]
    mean_map: NDArray[np.float32]


@dataclass(frozen=True)
class AttentionOverTraining:
    """One layer at M checkpoints: selected maps of B images (M, B, S, n), probabilities (M, B, K), and metrics.

    `mean_map` (M, S, n) and `metrics`, (M, S) by name, come from a larger fixed set of images. `unreadable` are
    checkpoints whose weights could not be read.
    """

    checkpoints: list[Checkpoint]
    maps: NDArray[np.float32]
    probs: NDArray[np.float32]
    mean_map: NDArray[np.float32]
    metrics: dict[str, NDArray[np.float32]]
    unreadable: list[Checkpoint]


def all_heads(num_heads: int) -> list[Head]:
    """The S maps of a layer in their order."""
    return [*range(num_heads), "mean", "max"]


def take_snapshot(model: MiniViT, images: Tensor) -> Snapshot:
    """Probabilities and CLS maps of all layers and heads for images uint8 (B, C, H, W).

    Only the CLS rows are formed: with many tokens, all rows of all layers take gigabytes.
    """
    P = model.config.num_prefix_tokens
    probs, maps = [], []
    for batch in batches(model, images):
        with eval_mode(model):
            logits, out = model.forward_tokens(model.embed(to_model(model, batch)), ("attn_input",))
            layers = []
            for block, x in zip(model.blocks, out["attn_input"], strict=True):
                assert isinstance(block, Block)
                layers.append(single_query_attention(block.attn, x)[1][..., P:])
        probs.append(probabilities(model, logits))
        rows = torch.stack(layers, 1)  # (B, L, H, n)
        maps.append(torch.cat([rows, rows.mean(2, keepdim=True), rows.amax(2, keepdim=True)], 2))
    return Snapshot(torch.cat(probs).cpu().numpy(), torch.cat(maps).cpu().numpy())


def map_metrics(snapshot: Snapshot, start: Snapshot) -> MapMetrics:
    """Metrics of a snapshot's maps, given the maps of the same images at epoch 0."""
    maps, reference = (torch.from_numpy(maps).movedim(0, 2) for maps in (snapshot.maps, start.maps))  # (L, S, B, n)
    pairs = zip(maps.flatten(0, 1), reference.flatten(0, 1), strict=True)
    values = np.array([_metrics(*pair) for pair in pairs], np.float32).reshape(*maps.shape[:2], -1)
    by_name = {name: values[..., index] for index, name in enumerate(MAP_METRICS)}
    return MapMetrics(by_name, maps.mean(2).numpy())


def stack(
    results: Mapping[Checkpoint, tuple[Snapshot, MapMetrics]],
    layer: int,
    heads: Sequence[Head],
    unreadable: list[Checkpoint],
) -> AttentionOverTraining:
    """One layer and some of its maps at every checkpoint, in order."""
    snapshots, metrics = zip(*results.values(), strict=True)
    known = all_heads(snapshots[0].maps.shape[2] - 2)
    indices = [known.index(head) for head in heads]
    return AttentionOverTraining(
        checkpoints=list(results),
        maps=np.stack([snapshot.maps[:, layer, indices] for snapshot in snapshots]),
        probs=np.stack([snapshot.probs for snapshot in snapshots]),
        mean_map=np.stack([metric.mean_map[layer, indices] for metric in metrics]),
        metrics={name: np.stack([metric.values[name][layer, indices] for metric in metrics]) for name in MAP_METRICS},
        unreadable=unreadable,
    )


def _metrics(maps: Tensor, start: Tensor) -> tuple[float, ...]:
    """The `MAP_METRICS` of the maps of all images (B, n), in their order."""
    means = float(entropy(maps).mean()), float(divergence(maps, start).mean())
    return *means, between_image_variation(maps), image_specific_share(maps)

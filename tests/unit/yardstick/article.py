"""Independent yardstick: the article's model, split and measures, written literally.

The model and the split follow `shared/ARTICLE.md`; the measures follow the papers named in each
docstring. Plain and slow on purpose, and it imports nothing of the project.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IMAGE_SIZE = 32
PATCH_SIZE = 4
CHANNELS = 3
GRID = IMAGE_SIZE // PATCH_SIZE
PATCHES = GRID * GRID
PATCH_VALUES = CHANNELS * PATCH_SIZE * PATCH_SIZE
TOKENS = PATCHES + 1
WIDTH = 64
CLASSES = 4
NORM_EPS = 1e-5

FloatArray = NDArray[np.float64]


def cut_patches(images: Tensor) -> Tensor:
    """Cut (B, 3, 32, 32) into (B, 64, 48): patches row by row, values by channel, row, column."""
    patches: list[Tensor] = []
    for grid_row in range(GRID):
        for grid_column in range(GRID):
            values: list[Tensor] = []
            for channel in range(CHANNELS):
                for row in range(PATCH_SIZE):
                    for column in range(PATCH_SIZE):
                        y = grid_row * PATCH_SIZE + row
                        x = grid_column * PATCH_SIZE + column
                        values.append(images[:, channel, y, x])
            patches.append(torch.stack(values, dim=1))
    return torch.stack(patches, dim=1)


def position_table() -> Tensor:
    """Fixed (65, 64) float64 table; columns 2i and 2i+1 share the angle pos / 10000^(2i/64)."""
    table = torch.zeros(TOKENS, WIDTH, dtype=torch.float64)
    for position in range(TOKENS):
        for column in range(0, WIDTH, 2):
            angle = position / 10000 ** (column / WIDTH)
            table[position, column] = math.sin(angle)
            table[position, column + 1] = math.cos(angle)
    return table


def linear(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Linear layer `name`: x Wᵀ + b."""
    return torch.matmul(x, weights[f"{name}.weight"].T) + weights[f"{name}.bias"]


def layer_norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """LayerNorm `name` over the last axis, with the biased variance."""
    mean = x.sum(dim=-1, keepdim=True) / x.shape[-1]
    centered = x - mean
    variance = (centered * centered).sum(dim=-1, keepdim=True) / x.shape[-1]
    normalized = centered / torch.sqrt(variance + NORM_EPS)
    return normalized * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def forward(weights: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """images float 0..1 (B, 3, 32, 32) -> logits (B, 4), attention (B, 65, 65)."""
    if tuple(images.shape[1:]) != (CHANNELS, IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"images must be (B, 3, 32, 32), not {tuple(images.shape)}")
    embedded = linear(weights, "embed", cut_patches(images))
    cls = weights["cls"].reshape(1, 1, WIDTH).expand(images.shape[0], 1, WIDTH)
    x = torch.cat([cls, embedded], dim=1) + position_table().to(embedded)

    q = linear(weights, "q", x)
    k = linear(weights, "k", x)
    v = linear(weights, "v", x)
    attention = torch.softmax(torch.matmul(q, k.transpose(1, 2)) / math.sqrt(WIDTH), dim=-1)

    attended = linear(weights, "attn_out", torch.matmul(attention, v))
    x1 = layer_norm(weights, "norm1", x + attended)
    hidden = torch.relu(linear(weights, "ff1", x1))
    x2 = layer_norm(weights, "norm2", x1 + linear(weights, "ff2", hidden))
    return linear(weights, "out", x2[:, 0]), attention


def random_weights(seed: int) -> dict[str, Tensor]:
    """Random float32 weights; CLS, biases and norms are non-trivial too, so that each one shows."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {"cls": torch.randn(WIDTH, generator=generator)}
    shapes = {
        "embed": (WIDTH, PATCH_VALUES),
        "q": (WIDTH, WIDTH),
        "k": (WIDTH, WIDTH),
        "v": (WIDTH, WIDTH),
        "attn_out": (WIDTH, WIDTH),
        "ff1": (WIDTH, WIDTH),
        "ff2": (WIDTH, WIDTH),
        "out": (CLASSES, WIDTH),
    }
    for name, (rows, columns) in shapes.items():
        scale = 1 / math.sqrt(columns)
        weights[f"{name}.weight"] = torch.randn(rows, columns, generator=generator) * scale
        weights[f"{name}.bias"] = torch.randn(rows, generator=generator) * scale
    for name in ("norm1", "norm2"):
        weights[f"{name}.weight"] = 1 + 0.2 * torch.randn(WIDTH, generator=generator)
        weights[f"{name}.bias"] = 0.2 * torch.randn(WIDTH, generator=generator)
    return weights


def split(labels: list[int]) -> tuple[list[int], list[int]]:
    """The article's split: (train, test_set), the first 80% of the seed-42 shuffle and the rest.

    `labels` names the chosen images by index. The result holds the same numbers: data-set indices
    give data-set indices, and the article's own numbering 0..n-1 gives that numbering. The
    permutation depends on n alone, so both pick the same images. Where 80% is not whole (the
    article does not say), it is rounded down.
    """
    indices = sorted(labels)
    random.Random(42).shuffle(indices)
    train_size = len(indices) * 80 // 100
    return indices[:train_size], indices[train_size:]


def rollout(attn: Sequence[FloatArray]) -> FloatArray:
    """CLS → patch attention rollout, (N-1,), from one (H, N, N) array per layer, first layer first.

    Source: Abnar & Zuidema 2020, arXiv 2005.00928: A_hat = 0.5 * (mean over heads + I),
    R = A_hat_L @ ... @ A_hat_1; the result is R[0, 1:].
    """
    if not attn:
        raise ValueError("rollout needs at least one layer")
    tokens = attn[0].shape[-1]
    rolled = np.eye(tokens, dtype=np.float64)
    for layer in attn:
        heads = layer.shape[0]
        mixed = np.zeros((tokens, tokens), dtype=np.float64)
        for i in range(tokens):
            for j in range(tokens):
                mean = sum(float(layer[head, i, j]) for head in range(heads)) / heads
                mixed[i, j] = 0.5 * (mean + (1.0 if i == j else 0.0))
        product = np.zeros((tokens, tokens), dtype=np.float64)
        for i in range(tokens):
            for middle in range(tokens):
                for j in range(tokens):
                    product[i, j] += mixed[i, middle] * rolled[middle, j]
        rolled = product
    return rolled[0, 1:]


def entropy(p: FloatArray) -> float:
    """Normalized Shannon entropy of a row: -sum p ln p / ln n of the renormalized row, 0 ln 0 = 0.

    Source: Shannon 1948, "A Mathematical Theory of Communication", section 6; divided by its
    maximum ln n, so that a uniform row gives 1 and a one-hot row 0.
    """
    values = [float(value) for value in p]
    total = sum(values)
    if len(values) < 2 or total <= 0:
        raise ValueError("entropy needs at least two entries and a positive sum")
    result = 0.0
    for value in values:
        share = value / total
        if share > 0:
            result -= share * math.log(share)
    return result / math.log(len(values))


def distance(attn: FloatArray, patch_size: float) -> FloatArray:
    """Mean attention distance of each head in pixels, (H,), from (H, N, N) with CLS as token 0.

    Source: Dosovitskiy et al. 2020, arXiv 2010.11929, figure 7: the distance between query pixel
    and attended pixels, weighted by attention. Here: CLS row and column dropped, each row
    renormalized, and the mean over query patches i of
    sum_j a_ij * patch_size * Euclidean distance on the square grid.
    """
    heads = attn.shape[0]
    patches = attn.shape[1] - 1
    side = math.isqrt(patches)
    if patches < 1 or side * side != patches:
        raise ValueError(f"{patches} patches do not make a square grid")
    result = np.zeros(heads, dtype=np.float64)
    for head in range(heads):
        total = 0.0
        for i in range(patches):
            row = [float(attn[head, i + 1, j + 1]) for j in range(patches)]
            row_sum = sum(row)
            for j in range(patches):
                steps = math.hypot(i // side - j // side, i % side - j % side)
                total += row[j] / row_sum * patch_size * steps
        result[head] = total / patches
    return result


def wilson(correct: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson score interval (low, high) of the share correct / n.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference",
    JASA 22: the shares whose distance to correct / n is z of their own standard errors,
    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    """
    if n <= 0 or not 0 <= correct <= n:
        raise ValueError(f"not a share: {correct} of {n}")
    p = correct / n
    scale = 1 + z * z / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - half) / scale, (centre + half) / scale

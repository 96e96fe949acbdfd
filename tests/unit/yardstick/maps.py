"""Maps from attention, and figures of a map; letters as in `network`."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from yardstick.network import Array


def rollout(layers: Sequence[ArrayLike]) -> Array:
    """Â = ½(mean_h A + I), R = Â_L ⋯ Â_1, then R[0, 1:] unscaled (2005.00928 § 3); layers (H, N, N) by depth."""
    R = np.eye(np.shape(layers[0])[-1])
    for layer in layers:
        attn = np.asarray(layer, dtype=np.float64)
        mean = sum(attn[head] for head in range(len(attn))) / len(attn)
        R = 0.5 * (mean + np.eye(len(R))) @ R
    return R[0, 1:]


def relevance(layers: Sequence[ArrayLike], gradients: Sequence[ArrayLike]) -> Array:
    """R = I; by depth Ā = mean_h((∇A ⊙ A)⁺), clamped before the mean, R ← R + Ā R; R[0, 1:] (2103.15679 eq. 5–6).

    gradients[l] (H, N, N) is the derivative of the class's logit by layers[l], the attention after the softmax.
    """
    R = np.eye(np.shape(layers[0])[-1])
    for layer, gradient in zip(layers, gradients, strict=True):
        attn, slope = np.asarray(layer, dtype=np.float64), np.asarray(gradient, dtype=np.float64)
        clamped = [np.maximum(slope[head] * attn[head], 0) for head in range(len(attn))]
        R = R + (sum(clamped) / len(clamped)) @ R
    return R[0, 1:]


def value_weighted(
    x: ArrayLike, qkv_weight: ArrayLike, qkv_bias: ArrayLike, proj_weight: ArrayLike, attn: ArrayLike, num_heads: int
) -> Array:
    """‖α_ij f(x_j)‖ as (H, N, N), f(x) = (x W_V + b_V) W_O of the head (2004.10102).

    x (N, C) is what attention reads. The head's W_O is its d columns of attn.proj's weight; proj's bias is no part.
    """
    x, qkv_weight, qkv_bias, proj_weight, attn = (
        np.asarray(array, dtype=np.float64) for array in (x, qkv_weight, qkv_bias, proj_weight, attn)
    )
    N, C = x.shape
    d = C // num_heads
    norms = np.zeros((num_heads, N, N))
    for head in range(num_heads):
        value_rows, out_columns = slice(2 * C + head * d, 2 * C + (head + 1) * d), slice(head * d, (head + 1) * d)
        for j in range(N):
            value = qkv_weight[value_rows] @ x[j] + qkv_bias[value_rows]
            f = proj_weight[:, out_columns] @ value
            for i in range(N):
                norms[head, i, j] = math.sqrt(((attn[head, i, j] * f) ** 2).sum())
    return norms


def position_content(
    content: ArrayLike,
    position: ArrayLike,
    W_q: ArrayLike,
    b_q: ArrayLike,
    W_k: ArrayLike,
    b_k: ArrayLike,
    num_heads: int,
) -> tuple[Array, Array, Array, Array]:
    """q·k/√d of x = content + position in four (H, N, N): content–content, content–position, position–content,
    position–position, the query's half named first (TUPE 2006.15595, whose formula has no biases).

    The biases go with content: q = (c W_q + b_q) + p W_q, and k alike. So content–content is the score of a model
    whose positions are zero, position–position holds nothing else, and the four add up to the score exactly.
    content and position (N, C) are the two summands of what attention reads: behind a norm the caller splits LN(x)
    with x's own mean and spread, and LN's β is content too. W (C, C) and b (C,) are the rows of qkv.
    """
    content, position, W_q, b_q, W_k, b_k = (
        np.asarray(array, dtype=np.float64) for array in (content, position, W_q, b_q, W_k, b_k)
    )
    N, C = content.shape
    d = C // num_heads
    queries, keys = (content @ W_q.T + b_q, position @ W_q.T), (content @ W_k.T + b_k, position @ W_k.T)

    def term(q: Array, k: Array) -> Array:
        scores = np.zeros((num_heads, N, N))
        for head in range(num_heads):
            part = slice(head * d, (head + 1) * d)
            for i in range(N):
                for j in range(N):
                    scores[head, i, j] = (q[i, part] * k[j, part]).sum() / math.sqrt(d)
        return scores

    return (
        term(queries[0], keys[0]),
        term(queries[0], keys[1]),
        term(queries[1], keys[0]),
        term(queries[1], keys[1]),
    )


def entropy(patch_map: ArrayLike) -> float:
    """−Σ a ln a / ln n of one map (n ≥ 2,), rescaled to sum 1, 0 ln 0 = 0: 0 one patch, 1 uniform (2303.06296)."""
    a = np.asarray(patch_map, dtype=np.float64)
    total = 0.0
    for share in a / a.sum():
        if share > 0:
            total -= share * math.log(share)
    return total / math.log(len(a))


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """½ KL(p‖m) + ½ KL(q‖m) with m = ½(p + q), in bits, 0..1; both rescaled to sum 1 (Lin 1991).

    The divergence itself, not its square root (which is what scipy calls the distance).
    """
    first, second = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    bits = 0.0
    for a, b in zip(first / first.sum(), second / second.sum(), strict=True):
        for share in (a, b):
            if share > 0:
                bits += 0.5 * share * math.log2(share / ((a + b) / 2))
    return bits


def attention_distance(attn: ArrayLike, grid: int, patch_size: int) -> Array:
    """Per head (H,), pixels: mean_i Σ_j a_ij · p · ‖g_i − g_j‖ (2010.11929 fig. 7).

    attn (H, 1 + grid², 1 + grid²); patches only, so CLS leaves and each patch's row is rescaled to sum 1.
    """
    attn = np.asarray(attn, dtype=np.float64)
    distances = np.zeros(len(attn))
    for head, weights in enumerate(attn):
        for i in range(grid * grid):
            row = weights[1 + i, 1:] / weights[1 + i, 1:].sum()
            for j in range(grid * grid):
                apart = math.hypot(i // grid - j // grid, i % grid - j % grid)
                distances[head] += row[j] * patch_size * apart / (grid * grid)
    return distances


def pearson(a: Array, b: Array) -> float:
    """Σ(a − ā)(b − b̄) / √(Σ(a − ā)² Σ(b − b̄)²); nan where one side is constant."""
    a, b = a - a.sum() / len(a), b - b.sum() / len(b)
    spread = math.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / spread) if spread > 0 else math.nan


def between_image_variation(maps: ArrayLike) -> float:
    """1 − mean over pairs of images of the Pearson correlation of their maps (B, n): 0 = the same map for all."""
    maps = np.asarray(maps, dtype=np.float64)
    pairs = [pearson(maps[a], maps[b]) for a in range(len(maps)) for b in range(a)]
    return 1 - sum(pairs) / len(pairs)


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson correlation of the ranks, equal values sharing the mean of their ranks (Kendall 1945)."""

    def ranks(values: Array) -> Array:
        return np.array([(values < value).sum() + ((values == value).sum() + 1) / 2 for value in values])

    return pearson(ranks(np.asarray(a, dtype=np.float64)), ranks(np.asarray(b, dtype=np.float64)))

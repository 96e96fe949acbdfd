"""Independent yardstick: a ViT's forward and what is read off its attention, written from the papers' formulas.

Plain numpy in float64, slow and literal on purpose, and it imports nothing of the project. Each docstring gives
formula and source. Letters: N tokens (CLS is token 0, patches follow row by row), n = N - 1 patches, H heads,
C embed_dim, d = C/H per head. Weights lie as in PyTorch: a Linear is x Wᵀ + b with W (out, in).
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Forward(NamedTuple):
    """What one image gives: logits (K,), and per layer attn and scores (H, N, N) and attention's inputs (N, C)."""

    logits: Array
    attn: list[Array]
    scores: list[Array]
    inputs: list[Array]


# --- the network ---------------------------------------------------------------------------------------------------


def softmax(row: Array) -> Array:
    """exp(s_j) / Σ_k exp(s_k) of one row, shifted by its maximum."""
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """(x - mean) / √(var + eps) · γ + β for each token, var with division by C (1607.06450)."""
    out = np.zeros_like(x)
    for i, token in enumerate(x):
        mean = token.sum() / len(token)
        var = ((token - mean) ** 2).sum() / len(token)
        out[i] = (token - mean) / math.sqrt(var + eps) * weight + bias
    return out


def activate(x: Array, activation: str) -> Array:
    """Elementwise "relu", max(x, 0), or "gelu", x · ½(1 + erf(x/√2)) exactly (1606.08415)."""
    if activation == "relu":
        return np.array([max(value, 0.0) for value in x.flat]).reshape(x.shape)
    assert activation == "gelu", activation
    return np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x.flat]).reshape(x.shape)


def sincos(num_tokens: int, embed_dim: int) -> Array:
    """The fixed table (N, C) of 1706.03762: sin(i / 10000^(2k/C)) in column 2k, cos in 2k + 1; CLS is position 0."""
    table = np.zeros((num_tokens, embed_dim))
    for i in range(num_tokens):
        for column in range(embed_dim):
            angle = i / 10000 ** ((column - column % 2) / embed_dim)
            table[i, column] = math.cos(angle) if column % 2 else math.sin(angle)
    return table


def embed(weights: Mapping[str, Array], image: Array) -> Array:
    """Patch tokens (n, C) of an image (channels, height, width): z_j = E patch_j + b (2010.11929 eq. 1)."""
    filters, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
    p = filters.shape[-1]
    tokens = []
    for row in range(image.shape[1] // p):
        for column in range(image.shape[2] // p):
            patch = image[:, row * p : (row + 1) * p, column * p : (column + 1) * p]
            tokens.append([(kernel * patch).sum() for kernel in filters] + bias)
    return np.array(tokens)


def vit_forward(
    weights: Mapping[str, ArrayLike],
    image: ArrayLike,
    *,
    depth: int,
    num_heads: int,
    norm: str = "pre",
    activation: str = "gelu",
    positions: str = "given",
    keep: Sequence[int] | None = None,
    silenced: Collection[tuple[int, int]] = (),
) -> Forward:
    """Forward of one image that is normalized already, (channels, height, width), with timm's parameter names.

    norm "pre" (2010.11929 eq. 1–4, eps 1e-6):   x ← x + MSA(LN1 x), x ← x + MLP(LN2 x), logits = head(LN x_CLS).
    norm "post" (1706.03762 § 3.1, eps 1e-5):    x ← LN1(x + MSA x), x ← LN2(x + MLP x), logits = head(x_CLS).
    MSA: A = softmax(q kᵀ/√d) per head, then the heads' A v side by side through attn.proj; MLP = fc2(act(fc1 x)).
    `positions`: "given" (pos_embed (1, N, C) in the weights, its row 0 for CLS), "sincos" (fixed table) or "none".
    `keep`: the patches whose tokens stay, in this order, each with its own position; CLS always stays; None: all.
    `silenced`: pairs (layer, head) from 0 whose output A v is zero before attn.proj.
    The inputs returned are what qkv reads: LN1(x) in a pre-norm block, x itself in a post-norm one.
    """
    assert norm in ("pre", "post"), norm
    w = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
    eps = 1e-6 if norm == "pre" else 1e-5

    def linear(x: Array, name: str) -> Array:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", np.zeros(1))

    def normed(x: Array, name: str) -> Array:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], eps)

    x = np.vstack([w["cls_token"].reshape(1, -1), embed(w, np.asarray(image, dtype=np.float64))])
    if positions == "given":
        x = x + w["pos_embed"].reshape(x.shape)
    elif positions == "sincos":
        x = x + sincos(*x.shape)
    else:
        assert positions == "none", positions
    if keep is not None:
        x = x[[0] + [1 + patch for patch in keep]]

    seen = Forward(np.zeros(0), [], [], [])
    N, C = x.shape
    d = C // num_heads
    for layer in range(depth):
        block = f"blocks.{layer}"
        read = normed(x, f"{block}.norm1") if norm == "pre" else x
        qkv = linear(read, f"{block}.attn.qkv")
        scores, attn, heads = np.zeros((num_heads, N, N)), np.zeros((num_heads, N, N)), np.zeros((N, C))
        for head in range(num_heads):
            q, k, v = (qkv[:, part * C + head * d : part * C + (head + 1) * d] for part in range(3))
            for i in range(N):
                scores[head, i] = [(q[i] * k[j]).sum() / math.sqrt(d) for j in range(N)]
                attn[head, i] = softmax(scores[head, i])
            if (layer, head) not in silenced:
                heads[:, head * d : (head + 1) * d] = attn[head] @ v
        x = x + linear(heads, f"{block}.attn.proj")
        x = normed(x, f"{block}.norm1") if norm == "post" else x
        mlp_input = normed(x, f"{block}.norm2") if norm == "pre" else x
        x = x + linear(activate(linear(mlp_input, f"{block}.mlp.fc1"), activation), f"{block}.mlp.fc2")
        x = normed(x, f"{block}.norm2") if norm == "post" else x
        seen.attn.append(attn)
        seen.scores.append(scores)
        seen.inputs.append(read)
    x = normed(x, "norm") if norm == "pre" else x
    return seen._replace(logits=linear(x[0], "head"))


# --- maps from attention -------------------------------------------------------------------------------------------


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


# --- figures of a map ----------------------------------------------------------------------------------------------


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


# --- trust ---------------------------------------------------------------------------------------------------------


def occlusion(score: Callable[[Array], float], image: ArrayLike, patch_size: int, fill: ArrayLike) -> Array:
    """f(x) − f(x with patch j painted over) for each patch (n,), row by row (Zeiler & Fergus 1311.2901 § 4.2).

    image (channels, height, width); `fill` is a number, or one per channel.
    """
    image, p = np.asarray(image, dtype=np.float64), patch_size
    color = np.broadcast_to(np.asarray(fill, dtype=np.float64), (len(image),))
    whole, drops = score(image.copy()), []
    for row in range(image.shape[1] // p):
        for column in range(image.shape[2] // p):
            painted = image.copy()
            for channel in range(len(image)):
                painted[channel, row * p : (row + 1) * p, column * p : (column + 1) * p] = color[channel]
            drops.append(whole - score(painted))
    return np.array(drops)


def deletion_curve(score_of_kept: Callable[[list[int]], float], order: Sequence[int], num_patches: int) -> Array:
    """Scores s_0 … s_n as patches go in `order`, s_0 with all of them (RISE 1806.07421).

    `order` names the most important patch first; `score_of_kept` gets the patches that are left, ascending.
    """
    gone = [set(order[:k]) for k in range(len(order) + 1)]
    return np.array([score_of_kept([j for j in range(num_patches) if j not in past]) for past in gone])


def insertion_curve(score_of_kept: Callable[[list[int]], float], order: Sequence[int], num_patches: int) -> Array:
    """Scores s_0 … s_n as patches come in `order`, s_0 with none of them (RISE 1806.07421)."""
    come = [set(order[:k]) for k in range(len(order) + 1)]
    return np.array([score_of_kept([j for j in range(num_patches) if j in here]) for here in come])


def rise_area(scores: ArrayLike) -> float:
    """(Σs − s_0/2 − s_n/2) / n of the n + 1 scores of a curve: the trapezoid rule over 0..1 (RISE 1806.07421)."""
    s = np.asarray(scores, dtype=np.float64)
    return float((s.sum() - s[0] / 2 - s[-1] / 2) / (len(s) - 1))


def shares(mask: ArrayLike, patch_size: int) -> Array:
    """Per patch (n,), row by row, the share of its pixels that lie inside a mask (height, width)."""
    mask, p = np.asarray(mask, dtype=bool), patch_size
    return np.array(
        [
            mask[row * p : (row + 1) * p, column * p : (column + 1) * p].sum() / (p * p)
            for row in range(mask.shape[0] // p)
            for column in range(mask.shape[1] // p)
        ]
    )


def mass_inside(patch_map: ArrayLike, mask: ArrayLike, patch_size: int) -> float:
    """Σ_j m_j · share_j / Σ_j m_j: the part of a map (n,) on the object, as energy-based pointing (1910.01279)."""
    m = np.asarray(patch_map, dtype=np.float64)
    return float((m * shares(mask, patch_size)).sum() / m.sum())


def pointing(patch_map: ArrayLike, mask: ArrayLike, patch_size: int, *, least_share: float = 0.0) -> bool:
    """Pointing game (1608.00507): does the map's strongest patch lie on the object?

    The paper asks it of a point. A patch is a hit where more than `least_share` of its pixels lie inside the mask:
    0 asks for a single pixel. Of equal patches the first counts.
    """
    strongest = int(np.argmax(np.asarray(patch_map, dtype=np.float64)))
    return bool(shares(mask, patch_size)[strongest] > least_share)

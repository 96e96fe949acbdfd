"""Independent yardstick: a ViT's forward and what is read off its attention, written from the papers' formulas.

Plain numpy in float64, slow and literal on purpose, and it imports nothing of the project. Each docstring gives
formula and source. Letters: N tokens (CLS is token 0, patches follow row by row), n = N - 1 patches, H heads,
C embed_dim, d = C/H per head. Weights lie as in PyTorch: a Linear is x Wᵀ + b with W (out, in).
"""

import math
from collections.abc import Collection, Mapping, Sequence
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

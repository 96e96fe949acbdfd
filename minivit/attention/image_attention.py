"""The attention of one image, head by head and row by row: all of it is too large for models with many tokens.

L layers, H heads, D embed_dim, K classes; N tokens, of which n are not masked. Results have a row and a column for CLS
and each patch; register tokens are left out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from minivit.attention.maps import Head, kept_tokens, probabilities, select_head, to_model, without_registers
from minivit.config import ViTConfig
from minivit.errors import ConfigError
from minivit.fused import single_query_attention
from minivit.inference import eval_mode
from minivit.model import Block, MiniViT

# A factor for each head and key token, (B, N, D) -> (B, H, N), by which a method multiplies the attention
Weighting = Callable[[Block, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class AttentionInputs:
    """The inputs of each layer's attention for one image, from which any part of the attention can be computed."""

    probs: Tensor  # (K,)
    layers: Tensor  # (L, n, D)
    tokens: Tensor  # int64 (n,), the indices of the tokens that are not masked

    def keep_idx(self, config: ViTConfig) -> Tensor:
        """The patches that are not masked, int64 (1, n without the prefix tokens)."""
        return self.tokens[None, config.num_prefix_tokens :] - config.num_prefix_tokens


def attention_inputs(model: MiniViT, image: Tensor, masked: Tensor | None = None) -> AttentionInputs:
    """The inputs for one image (1, C, H, W), with the patches `masked`, bool (N-1,), dropped."""
    config = model.config
    patches = torch.arange(config.num_patches) if masked is None else (~masked).nonzero()[:, 0]
    keep_idx = None if masked is None else patches[None]
    with eval_mode(model):
        x = model.embed(to_model(model, image), keep_idx)
        logits, out = model.forward_tokens(x, ("attn_input",), keep_idx=keep_idx)
    return AttentionInputs(probabilities(model, logits)[0], torch.cat(out["attn_input"]), kept_tokens(config, patches))


def token_rows(model: MiniViT, inputs: AttentionInputs, token: int, weighting: Weighting | None = None) -> Tensor:
    """What CLS (0) or a patch (from 1) attends to in every layer and head, (L, H, 1 + patches); 0 for masked ones."""
    config = model.config
    P = config.num_prefix_tokens
    rows = torch.zeros(config.depth, config.num_heads, config.num_tokens)
    index = token and token - 1 + P
    if index not in inputs.tokens:
        return torch.cat([rows[..., :1], rows[..., P:]], dim=-1)
    query = int((inputs.tokens == index).nonzero())
    keep_idx = inputs.keep_idx(config)
    with torch.no_grad():
        for layer, x in enumerate(inputs.layers):
            block = _block(model, layer)
            _, attn = single_query_attention(block.attn, x[None], query, keep_idx)
            rows[layer, :, inputs.tokens] = _weighted(attn, block, x, weighting)[0]
    return torch.cat([rows[..., :1], rows[..., P:]], dim=-1)


def layer_matrices(model: MiniViT, inputs: AttentionInputs, layer: int, weighting: Weighting | None = None) -> Tensor:
    """The attention of each head of a layer, (H, 1 + patches, 1 + patches); 0 for masked patches."""
    return _of_all_tokens(_kept_matrices(model, inputs, layer, weighting), inputs, model.config)


def head_matrix(
    model: MiniViT, inputs: AttentionInputs, layer: int, head: Head, weighting: Weighting | None = None
) -> Tensor:
    """The attention of one head of a layer, the mean or maximum over its heads, (1 + patches)²; 0 for masked ones."""
    matrices = _kept_matrices(model, inputs, layer, weighting)
    matrix = select_head(matrices, head).clone()  # a view would keep all heads in memory
    return _of_all_tokens(matrix, inputs, model.config)


def _kept_matrices(model: MiniViT, inputs: AttentionInputs, layer: int, weighting: Weighting | None) -> Tensor:
    """The attention of each head of a layer among the tokens that are not masked, (H, n, n)."""
    block = _block(model, layer)
    x = inputs.layers[layer]
    with torch.no_grad():
        _, attn, _ = block.attn(x[None], keep_idx=inputs.keep_idx(model.config))
        return _weighted(attn, block, x, weighting)[0].cpu()


def _of_all_tokens(matrices: Tensor, inputs: AttentionInputs, config: ViTConfig) -> Tensor:
    """(…, n, n) -> (…, 1 + patches, 1 + patches), with 0 for masked patches."""
    N = config.num_tokens
    tokens = inputs.tokens
    if len(tokens) < N:
        kept, matrices = matrices, torch.zeros(*matrices.shape[:-2], N, N)
        matrices[..., tokens[:, None], tokens] = kept
    return without_registers(matrices, config)


def _block(model: MiniViT, layer: int) -> Block:
    block = model.blocks[layer]
    assert isinstance(block, Block)
    return block


def _weighted(attn: Tensor, block: Block, x: Tensor, weighting: Weighting | None) -> Tensor:
    """Attention (1, H, n) or (1, H, n, n), multiplied by the factor of each key token."""
    if weighting is None:
        return attn
    factors = weighting(block, x[None])
    return attn * (factors if attn.dim() == 3 else factors[:, :, None])


@dataclass(frozen=True, eq=False)
class SoftmaxRow:
    """One row of attention with everything that it is computed from."""

    query: Tensor  # (D,)
    keys: Tensor  # (N, D)
    values: Tensor  # (N, D)
    scale: float  # 1 / √D
    tokens: Tensor  # (N, embed_dim), as they enter the first layer

    @property
    def products(self) -> Tensor:
        """Query times key, dimension by dimension, (N, D)."""
        return self.query * self.keys

    @property
    def scores(self) -> Tensor:
        """What softmax gets, (N,)."""
        return self.products.sum(1) * self.scale

    @property
    def weights(self) -> Tensor:
        """The attention, (N,), which sums to 1: e to each score, divided by the sum of all of them."""
        return self.scores.softmax(0)

    @property
    def context(self) -> Tensor:
        """What the head writes for the query, (D,): the values, mixed by the weights."""
        return self.weights @ self.values


def softmax_row(model: MiniViT, image: Tensor, layer: int, head: int, token: int = 0) -> SoftmaxRow:
    """The row of a token of one image (1, C, H, W) in a head of a layer, all counted from 0; 0 is CLS.

    ConfigError for a layer, head or token that the model does not have.
    """
    config = model.config
    for name, index, num in (("layer", layer, config.depth), ("head", head, config.num_heads)):
        if not 0 <= index < num:
            raise ConfigError(f"There is no {name} {index + 1}; the model has {num}.")
    if not 0 <= token < config.num_tokens:
        raise ConfigError(f"There is no token {token}; choose 0 to {config.num_tokens - 1}.")
    attn = _block(model, layer).attn
    with eval_mode(model):
        tokens = model.embed(to_model(model, image))
        _, out = model.forward_tokens(tokens, ("attn_input",))
        qkv = attn.qkv(out["attn_input"][layer][0]).view(config.num_tokens, 3, config.num_heads, -1)
        q, k, v = qkv[:, :, head].unbind(1)
        q, k = attn.q_norm(q), attn.k_norm(k)
        if attn.rope is not None:
            q, k = (part[0, 0] for part in attn.rope(q[None, None], k[None, None]))
    return SoftmaxRow(q[token].cpu(), k.cpu(), v.cpu(), attn.scale, tokens[0].cpu())

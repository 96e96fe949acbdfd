"""How one head of one layer computes one row of its attention: query times key, scale, softmax.

N tokens, D dimensions of a head. The row is that of one query; it says what the query's token attends to.
"""

from dataclasses import dataclass

from torch import Tensor

from minivit.attention.maps import to_model
from minivit.errors import ConfigError
from minivit.inference import eval_mode
from minivit.model import Block, MiniViT


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
    block = model.blocks[layer]
    assert isinstance(block, Block)
    attn = block.attn
    with eval_mode(model):
        tokens = model.embed(to_model(model, image))
        _, out = model.forward_tokens(tokens, ("attn_input",))
        qkv = attn.qkv(out["attn_input"][layer][0]).view(config.num_tokens, 3, config.num_heads, -1)
        q, k, v = qkv[:, :, head].unbind(1)
        q, k = attn.q_norm(q), attn.k_norm(k)
        if attn.rope is not None:
            q, k = (part[0, 0] for part in attn.rope(q[None, None], k[None, None]))
    return SoftmaxRow(q[token].cpu(), k.cpu(), v.cpu(), attn.scale, tokens[0].cpu())

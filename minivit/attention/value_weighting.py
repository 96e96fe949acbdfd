"""Attention weighted by the norm of what it transports: a large weight on a short value vector contributes little.

B images, H heads, N tokens with CLS first, D embed_dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.attention.maps import to_model
from minivit.inference import eval_mode
from minivit.model import Block, MiniViT


def value_weighted(model: MiniViT, images: Tensor) -> list[Tensor]:
    """‖α_ij f(x_j)‖, the norm of what token i receives from token j: one tensor (B, H, N, N) per layer, for `cls_map`.

    f(x) = (x W_V + b_V) W_O of one head. Kobayashi et al. (2004.10102, equation 5). The unit is that of the
    embedding; rows do not sum to 1.
    """
    with eval_mode(model):
        _, out = model.forward_tokens(model.embed(to_model(model, images)), ("attn_input", "attn"))
        return [
            attn * _value_norms(block, x)[:, :, None]  # type: ignore[arg-type]
            for block, x, attn in zip(model.blocks, out["attn_input"], out["attn"], strict=True)
        ]


def _value_norms(block: Block, x: Tensor) -> Tensor:
    """‖f(x_j)‖ of every head and token, (B, N, D) -> (B, H, N)."""
    H, D = block.attn.num_heads, x.shape[-1]
    W_v, b_v = block.attn.qkv.weight[2 * D :], block.attn.qkv.bias[2 * D :]
    v = F.linear(x, W_v, b_v).unflatten(-1, (H, -1))  # (B, N, H, D / H)
    W_o = block.attn.proj.weight.view(D, H, -1)
    return torch.einsum("bnhd,ehd->bhne", v, W_o).norm(dim=-1)

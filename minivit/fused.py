"""Two exact shortcuts to the logits, for training and for evaluating many images.

Both give the logits of `model(images)`, up to float rounding, with far fewer operations. They do not compute attention
between patches in the last block; `model(images, return_attn=True)` does.

**Only the CLS row of the last block reaches the head** (`single_query_attention`), unless the head reads other tokens
too (`config.pool`). With a single query q, the scores q · (W_k x_j + b_k) are (W_kᵀ q) · x_j plus q · b_k, which is the
same for every token j, so that softmax ignores it.
The weights a_j sum to 1, so that Σ_j a_j (W_v x_j + b_v) = W_v (Σ_j a_j x_j) + b_v. Keys and values are never formed.

**One post-norm block on a patch embedding** (`fused_forward`). The embedded CLS token is the same for
every image, and so is W_kᵀ q. A patch enters as x_j = W p_j + c_j, where p_j are its pixels and c_j is the bias (with
the normalization of the pixels folded in) plus its position. Its score is (Wᵀ W_kᵀ q) · p_j + (W_kᵀ q) · c_j, one
filter of its pixels and a constant, and Σ_j a_j x_j = W (Σ_j a_j p_j) + Σ_j a_j c_j. No token is formed either. W_v is
multiplied with W and the c_j, which all images share. CLS is a patch without pixels, p_0 = 0.

B images, N tokens, D embed_dim, H heads of D / H dimensions, K classes, C channels, p patch size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivit.config import ViTConfig
from minivit.data import patches
from minivit.layers import rotate
from minivit.model import Attention, Block, MiniViT


class FusedViT(nn.Module):
    """The logits of `model` by the shortcuts that its config allows; `model` is shared, not copied.

    With `in_patches` it takes `token_pixels` of the images, which may be uint8; only a model that `has_fused_path` can
    read them. It is a module so that `functional_call` can replace the weights.
    """

    def __init__(self, model: MiniViT, in_patches: bool = False) -> None:
        super().__init__()
        self.model = model
        self.in_patches = in_patches
        assert has_fused_path(model.config) or not in_patches

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), float 0..1, or `token_pixels` (B, N, C·p·p) -> logits (B, K)."""
        if self.in_patches:
            return fused_forward(self.model, images)
        if has_fused_path(self.model.config, self.model.training):
            return fused_forward(self.model, token_pixels(images, self.model.config.patch_size))
        return forward_cls(self.model, self.model.embed(images))[0]


def token_pixels(images: Tensor, patch_size: int) -> Tensor:
    """The pixels of each token, (B, C, H, W) -> (B, N, C·p·p): zeros for CLS, then the patches."""
    return F.pad(patches(images, patch_size).flatten(2), (0, 0, 1, 0))


def has_fused_path(config: ViTConfig, training: bool = False) -> bool:
    """Whether `fused_forward` is the complete model: a single block that reads the embedded tokens.

    In training, dropout needs the tokens.
    """
    has_dropout = training and config.drop_rate > 0
    reads_patches = config.stem == "patch" and config.pool == "cls" and not (config.num_registers or config.norm_pre)
    is_plain = config.depth == 1 and config.norm == "post" and config.pos_embed != "rotary"
    return is_plain and reads_patches and not (config.qk_norm or has_dropout)


def forward_cls(
    model: MiniViT,
    x: Tensor,
    head_mask: Tensor | None = None,
    first: int = 0,
    keep_idx: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Logits (B, K), and the attention weights of CLS in each layer (B, H, 1, N), of tokens (B, N, D).

    `first` is the block that the tokens enter, from 0. `head_mask`, bool (depth, H), is False for ablated heads;
    `keep_idx` (B, n) are the patches whose tokens they are, if some were dropped.
    """
    rows = []
    only_cls = model.config.pool == "cls"
    for layer in range(first, model.config.depth - only_cls):
        x, out = model.blocks[layer](x, None if head_mask is None else head_mask[layer], keep_idx)
        rows.append(out["attn"][:, :, :1].clone())  # a view would keep all rows in memory
    if not only_cls:
        return model.classify(x), rows
    block = model.blocks[-1]
    assert isinstance(block, Block)
    context, row = single_query_attention(block.attn, x if block.post_norm else block.norm1(x), keep_idx=keep_idx)
    if head_mask is not None:
        context = context * head_mask[-1, :, None]
    attn_output = block.attn.drop(block.attn.proj(context.flatten(1)[:, None]))
    x = block.after_attention(x[:, :1], attn_output)
    return model.classify(x), [*rows, row[:, :, None]]


def single_query_attention(
    attn: Attention, x: Tensor, query: int = 0, keep_idx: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Context per head (B, H, D / H) and attention weights (B, H, N) of CLS, or of the token `query`.

    `x` (B, N, D) is what the attention reads, `keep_idx` as in `forward_cls`.
    """
    W_q, W_k, W_v = attn.qkv.weight.view(3, attn.num_heads, -1, x.shape[-1])  # (H, D / H, D) each
    b_q, b_k, b_v = attn.qkv.bias.view(3, attn.num_heads, -1)
    q = torch.einsum("bd,hed->bhe", x[:, query], W_q) + b_q
    if isinstance(attn.k_norm, nn.Identity) and attn.rope is None:
        key_query = torch.einsum("bhe,hed->bhd", q * attn.scale, W_k)
        scores = key_query @ x.mT
    else:  # every key is normalized or rotated, so keys have to be formed
        q, k = attn.q_norm(q), attn.k_norm(torch.einsum("bnd,hed->bhne", x, W_k) + b_k[:, None])
        if attn.rope is not None:
            angles = attn.rope.angles(x, keep_idx)
            q, k = rotate(q, angles[:, :, query]), rotate(k, angles)
        scores = torch.einsum("bhe,bhne->bhn", q * attn.scale, k)
    weights = scores.softmax(-1)
    return torch.einsum("bhd,hed->bhe", weights @ x, W_v) + b_v, weights


def fused_forward(model: MiniViT, pixels: Tensor) -> Tensor:
    """Logits (B, K) of `token_pixels` (B, N, C·p·p), float 0..1 or uint8, for a model that `has_fused_path`."""
    block, proj = model.blocks[0], model.patch_embed.proj
    assert isinstance(block, Block) and proj.bias is not None and model.pos_embed is not None
    H, D = block.attn.num_heads, model.config.embed_dim
    W_q, W_k, W_v = block.attn.qkv.weight.view(3, H, -1, D).unbind()  # (H, D / H, D) each
    b_q, _, b_v = block.attn.qkv.bias.view(3, H, -1).unbind()
    weight = proj.weight / model.std
    cls = model.cls_token[0] + model.pos_embed[0, :1]
    bias = proj.bias - (weight * model.mean).sum((1, 2, 3))
    constants = torch.cat([cls, bias + model.pos_embed[0, 1:]])  # (N, D), CLS and each c_j
    if not pixels.is_floating_point():  # 0..255, to be divided as a factor of the weights
        weight = weight / 255
        pixels = pixels.float()
    filters = weight.flatten(1)  # (D, C·p·p)
    q = F.linear(cls, W_q.flatten(0, 1), b_q.flatten()).view(H, 1, -1)
    key_query = (q * block.attn.scale @ W_k)[:, 0]  # (H, D)
    scores = key_query @ filters @ pixels.flatten(0, 1).T  # (H, B·N), of pixels
    attn = (scores.view(H, *pixels.shape[:2]) + (key_query @ constants.T)[:, None]).softmax(-1)  # (H, B, N)
    mean_pixels = (attn.transpose(0, 1) @ pixels).transpose(0, 1)
    mean = torch.cat([mean_pixels, attn], dim=2)  # (H, B, C·p·p + N), of pixels and of constants
    values = W_v.flatten(0, 1) @ torch.cat([filters, constants.T], dim=1)  # (D, C·p·p + N)
    context = (mean @ values.view(H, D // H, -1).mT).transpose(0, 1) + b_v  # (B, H, D / H)
    x = block.after_attention(cls, block.attn.proj(context.flatten(1)))
    return model.head(model.norm(x))

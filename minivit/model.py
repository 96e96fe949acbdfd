"""The Vision Transformer: images -> patches -> tokens -> attention -> logits.

Parameter names are timm's: a pre-norm model with learned positions loads into timm's `VisionTransformer`.
B images, C channels, H × W pixels, N tokens (CLS first, then the registers, then the patches row by row), D embed_dim,
K classes; inside attention, H heads of D / H dimensions each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minivit.config import ViTConfig
from minivit.layers import ACTIVATIONS, RoPE, conv_stem, keep_patches, layer_norm, learned_tokens, sine_positions


class PatchEmbed(nn.Module):
    """Images (B, C, H, W) -> one token per patch (B, N-1, D): a strided convolution, or a small CNN."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        has_stem = config.stem == "conv"
        self.stem = conv_stem(config) if has_stem else nn.Identity()
        in_chans, size = (config.embed_dim, 1) if has_stem else (config.in_chans, config.patch_size)
        self.proj = nn.Conv2d(in_chans, config.embed_dim, size, stride=size)

    def forward(self, images: Tensor) -> Tensor:
        if not isinstance(self.stem, nn.Identity):
            images = images.contiguous(memory_format=torch.channels_last)  # the fastest layout for convolutions
        return self.proj(self.stem(images)).flatten(2).mT


class Attention(nn.Module):
    """Multi-head self-attention that also returns its weights."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_heads, config.embed_dim // config.num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.q_norm = layer_norm(config, self.head_dim, config.qk_norm)
        self.k_norm = layer_norm(config, self.head_dim, config.qk_norm)
        self.rope = RoPE(config) if config.pos_embed == "rotary" else None
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)
        self.drop = nn.Dropout(config.drop_rate)

    def forward(
        self, x: Tensor, head_mask: Tensor | None = None, keep_idx: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, D) -> output (B, N, D), attention weights (B, H, N, N) and context per head (B, H, N, D / H)."""
        B, N, D = x.shape
        qkv = self.qkv(x).view(B, N, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, N, D / H) each
        q, k = self.q_norm(q), self.k_norm(k)
        if self.rope is not None:
            q, k = self.rope(q, k, keep_idx)
        attn = (q @ k.mT * self.scale).softmax(-1)
        context = attn @ v
        if head_mask is not None:
            context = context * head_mask[:, None, None]
        x = context.transpose(1, 2).reshape(B, N, D)
        return self.drop(self.proj(x)), attn, context


class Mlp(nn.Module):
    """Feed-forward layer, applied to each token."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        hidden_dim = int(config.embed_dim * config.mlp_ratio)
        self.fc1 = nn.Linear(config.embed_dim, hidden_dim)
        self.act = ACTIVATIONS[config.act]()
        self.fc2 = nn.Linear(hidden_dim, config.embed_dim)
        self.drop = nn.Dropout(config.drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class Block(nn.Module):
    """Attention and MLP with residual connections; LayerNorm before each layer (pre) or after each sum (post)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.post_norm = config.norm == "post"
        self.norm1 = layer_norm(config)
        self.attn = Attention(config)
        self.norm2 = layer_norm(config)
        self.mlp = Mlp(config)

    def forward(
        self, x: Tensor, head_mask: Tensor | None = None, keep_idx: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, N, D) -> (B, N, D), and the intermediates that `MiniViT.forward_tokens` describes."""
        attn_input = x if self.post_norm else self.norm1(x)
        attn_output, attn, context = self.attn(attn_input, head_mask, keep_idx)
        out = {"tokens": x, "attn_input": attn_input, "attn": attn, "context": context}
        return self.after_attention(x, attn_output), out

    def after_attention(self, x: Tensor, attn_output: Tensor) -> Tensor:
        """The rest of the block after its attention: residual sum and MLP, (B, N, D) -> (B, N, D)."""
        if self.post_norm:
            x = self.norm1(x + attn_output)
            return self.norm2(x + self.mlp(x))
        x = x + attn_output
        return x + self.mlp(self.norm2(x))


class MiniViT(nn.Module):
    """Images (B, C, H, W), float 0..1, -> logits (B, K), or features (B, D) without a head (`num_classes` 0).

    Normalization is included, as buffers.
    """

    pos_embed: Tensor | None
    mean: Tensor
    std: Tensor

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.in_chans, 1, 1))
        self.register_buffer("std", torch.ones(config.in_chans, 1, 1))
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        if config.pos_embed == "sine":
            self.register_buffer("pos_embed", sine_positions(config.num_patches + 1, config.embed_dim)[None])
        else:  # rotary positions are in each layer's attention instead
            is_learned = config.pos_embed == "learned"
            self.pos_embed = learned_tokens(config.num_patches + 1, config.embed_dim) if is_learned else None
        self.reg_token = learned_tokens(config.num_registers, config.embed_dim) if config.num_registers else None
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.norm_pre = layer_norm(config, used=config.norm_pre)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = layer_norm(config, used=config.norm == "pre" and config.pool != "mean, then norm")
        self.fc_norm = layer_norm(config, used=config.pool == "mean, then norm")
        num_features = config.embed_dim * (2 if config.pool == "cls and mean" else 1)
        self.head = nn.Linear(num_features, config.num_classes) if config.num_classes else nn.Identity()
        if config.pool == "cls and distillation":
            self.head_dist = nn.Linear(num_features, config.num_classes)

    def forward(
        self,
        images: Tensor,
        return_attn: bool = False,
        keep_idx: Tensor | None = None,
        head_mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Logits (B, K); with `return_attn` also the attention weights of each layer (B, H, N, N), whose rows sum to 1.

        `keep_idx`, int64 (B, n), are the patches to keep, from 0; the tokens of the others are dropped after the
        position embedding, so that N is n plus the prefix tokens. `head_mask`, bool (depth, H), is False for ablated
        heads.
        """
        tokens = self.embed(images, keep_idx)
        logits, out = self.forward_tokens(tokens, ("attn",) if return_attn else (), head_mask, keep_idx)
        return (logits, out["attn"]) if return_attn else logits

    def embed(self, images: Tensor, keep_idx: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) -> tokens with their positions (B, N, D)."""
        x = self.patch_embed((images - self.mean) / self.std)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        if self.reg_token is not None:
            x = torch.cat([x[:, :1], self.reg_token.expand(x.shape[0], -1, -1), x[:, 1:]], dim=1)
        x = self.norm_pre(self.pos_drop(x))
        return x if keep_idx is None else keep_patches(x, keep_idx, self.config.num_prefix_tokens)

    def forward_tokens(
        self, x: Tensor, names: Sequence[str] = (), head_mask: Tensor | None = None, keep_idx: Tensor | None = None
    ) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits (B, K) of embedded tokens (B, N, D), and the intermediates of these names, one tensor per layer.

        `keep_idx` are the patches whose tokens they are, if some were dropped; rotary positions depend on it.

        tokens      (B, N, D), as they enter the block
        attn_input  (B, N, D), the same after norm1 in a pre-norm block
        attn        (B, H, N, N), attention weights: each row is a query and sums to 1
        context     (B, H, N, D / H), attn @ v; zero for an ablated head
        """
        out: dict[str, list[Tensor]] = {name: [] for name in names}
        for layer, block in enumerate(self.blocks):
            x, block_out = block(x, None if head_mask is None else head_mask[layer], keep_idx)
            for name in names:
                out[name].append(block_out[name])
        return self.classify(x), out

    def classify(self, x: Tensor) -> Tensor:
        """The tokens after the last block (B, N, D) -> logits (B, K)."""
        pool = self.config.pool
        if pool == "cls":
            return self.head(self.norm(x[:, 0]))
        x = self.norm(x)
        if pool == "cls and distillation":
            return (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        patches = x[:, self.config.num_prefix_tokens :]
        mean = patches.sum(1) / max(1, patches.shape[1])  # 0 if all patches were dropped
        return self.head(torch.cat([x[:, 0], mean], dim=1) if pool == "cls and mean" else self.fc_norm(mean))

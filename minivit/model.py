"""The Vision Transformer: images -> patches -> tokens -> attention -> logits.

Parameter names are timm's: a pre-norm model with learned positions loads into timm's `VisionTransformer`.
B images, C channels, H × W pixels, N tokens (CLS first, then the patches row by row), D embed_dim, K classes;
inside attention, H heads of D / H dimensions each.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivit.config import ViTConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
EPS = {"pre": 1e-6, "post": 1e-5}  # of LayerNorm: timm's ViT and PyTorch's default


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


def conv_stem(config: ViTConfig) -> nn.Sequential:
    """3×3 convolutions that halve the image until a patch is one pixel, then one more: (B, C, H, W) -> (B, D, G, G).

    Widths double up to D. As in 'Early Convolutions Help Transformers See Better' (2106.14881), but with a LayerNorm
    over each image in place of BatchNorm, so that an image's output does not depend on the rest of its batch.
    """
    num_halvings = config.patch_size.bit_length() - 1
    widths = [config.embed_dim >> (num_halvings - 1 - i) for i in range(num_halvings)] + [config.embed_dim]
    layers: list[nn.Module] = []
    for i, (in_chans, width) in enumerate(zip([config.in_chans, *widths], widths, strict=False)):
        conv = nn.Conv2d(in_chans, width, 3, stride=2 if i < num_halvings else 1, padding=1, bias=False)
        layers += [conv, nn.GroupNorm(1, width), ACTIVATIONS[config.act]()]
    return nn.Sequential(*layers)


class Attention(nn.Module):
    """Multi-head self-attention that also returns its weights."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_heads, config.embed_dim // config.num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)
        self.drop = nn.Dropout(config.drop_rate)

    def forward(self, x: Tensor, head_mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, D) -> output (B, N, D), attention weights (B, H, N, N) and context per head (B, H, N, D / H)."""
        B, N, D = x.shape
        qkv = self.qkv(x).view(B, N, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, N, D / H) each
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
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=EPS[config.norm])
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=EPS[config.norm])
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, head_mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, N, D) -> (B, N, D), and the intermediates that `MiniViT.forward_tokens` describes."""
        attn_input = x if self.post_norm else self.norm1(x)
        attn_output, attn, context = self.attn(attn_input, head_mask)
        out = {"tokens": x, "attn_input": attn_input, "attn": attn, "context": context}
        return self.add_attn_output(x, attn_output), out

    def add_attn_output(self, x: Tensor, attn_output: Tensor) -> Tensor:
        """The rest of the block after its attention: residual sum and MLP, (B, N, D) -> (B, N, D)."""
        if self.post_norm:
            x = self.norm1(x + attn_output)
            return self.norm2(x + self.mlp(x))
        x = x + attn_output
        return x + self.mlp(self.norm2(x))


class MiniViT(nn.Module):
    """Images (B, C, H, W), float 0..1, -> logits (B, K). Normalisation is inside, as buffers."""

    pos_embed: Tensor
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
        else:
            self.pos_embed = nn.Parameter(torch.empty(1, config.num_patches + 1, config.embed_dim))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.Identity() if config.norm == "post" else nn.LayerNorm(config.embed_dim, eps=EPS[config.norm])
        self.head = nn.Linear(config.embed_dim, config.num_classes)

    def forward(
        self,
        images: Tensor,
        return_attn: bool = False,
        keep_idx: Tensor | None = None,
        head_mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Logits (B, K); with `return_attn` also the attention weights of each layer (B, H, N, N), whose rows sum to 1.

        `keep_idx`, int64 (B, n), are the patches that stay, from 0; the tokens of the others are dropped after the
        position embedding, so that N is n + 1. `head_mask`, bool (depth, H), is False for ablated heads.
        """
        tokens = self.embed(images, keep_idx)
        logits, out = self.forward_tokens(tokens, ("attn",) if return_attn else (), head_mask)
        return (logits, out["attn"]) if return_attn else logits

    def embed(self, images: Tensor, keep_idx: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) -> tokens with their positions (B, N, D)."""
        x = self.patch_embed((images - self.mean) / self.std)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.pos_drop(x + self.pos_embed)
        return x if keep_idx is None else keep_patches(x, keep_idx)

    def forward_tokens(
        self, x: Tensor, names: Sequence[str] = (), head_mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits (B, K) of embedded tokens (B, N, D), and the intermediates of these names, one tensor per layer.

        tokens      (B, N, D), as they enter the block
        attn_input  (B, N, D), the same after norm1 in a pre-norm block
        attn        (B, H, N, N), attention weights: each row is a query and sums to 1
        context     (B, H, N, D / H), attn @ v; zero for an ablated head
        """
        out: dict[str, list[Tensor]] = {name: [] for name in names}
        for layer, block in enumerate(self.blocks):
            x, block_out = block(x, None if head_mask is None else head_mask[layer])
            for name in names:
                out[name].append(block_out[name])
        return self.head(self.norm(x[:, 0])), out


def keep_patches(x: Tensor, keep_idx: Tensor) -> Tensor:
    """CLS and the tokens of the patches `keep_idx`, int64 (B, n): (B, N, D) -> (B, n + 1, D)."""
    rows = F.pad(keep_idx + 1, (1, 0))  # row 0 is CLS
    return x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[-1]))


def sine_positions(num_tokens: int, embed_dim: int) -> Tensor:
    """The fixed table of 'Attention Is All You Need' (1706.03762, 3.5), (N, D): sine on even, cosine on odd columns."""
    frequency = torch.exp(torch.arange(0, embed_dim, 2, dtype=torch.float64) * (-math.log(10000.0) / embed_dim))
    angle = torch.arange(num_tokens, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


def num_parameters(config: ViTConfig) -> int:
    """Number of trainable parameters of a model with this configuration, counted without allocating them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MiniViT(config).parameters())

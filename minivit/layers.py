"""Parts of the model: activations, LayerNorm, the convolutional stem, positions, and the selection of tokens.

B images, C channels, H × W pixels, D embed_dim, N tokens.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivit.config import ViTConfig


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), OpenAI CLIP's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "quick_gelu": QuickGELU,
}

EPS = {"pre": 1e-6, "post": 1e-5}  # of LayerNorm: timm's ViT and PyTorch's default


def layer_norm(config: ViTConfig, dim: int | None = None, used: bool = True) -> nn.Module:
    """A LayerNorm over the embedding or `dim` values; the identity if it is not used."""
    return nn.LayerNorm(dim or config.embed_dim, eps=config.norm_eps or EPS[config.norm]) if used else nn.Identity()


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


class RoPE(nn.Module):
    """Rotary positions (RoFormer, 2104.09864) of patches in an image, as in DINOv3 (2508.10104)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.num_prefix_tokens = config.num_prefix_tokens
        self.base = config.rope_base
        self.head_dim = config.embed_dim // config.num_heads

    def forward(self, q: Tensor, k: Tensor, keep_idx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Queries and keys (B, H, N, D / H) of the prefix tokens and all patches, or `keep_idx` (B, n), rotated."""
        angles = self.angles(k, keep_idx)
        return rotate(q, angles), rotate(k, angles)

    def angles(self, x: Tensor, keep_idx: Tensor | None = None) -> Tensor:
        """The angles (1 or B, 1, N, D / H) by which `rotate` turns queries and keys, of the dtype and device of x.

        A quarter of a head's dimensions are frequencies of a patch's row, -1..1 from edge to edge, as many of its
        column; the other half repeats them. They are 0 for CLS and registers, which have no position.
        """
        frequency = self.base ** -torch.arange(0, 1, 4 / self.head_dim, device=x.device, dtype=x.dtype)
        along = (torch.arange(self.grid, device=x.device, dtype=x.dtype) + 0.5) * 2 / self.grid - 1
        angles = 2 * math.pi * torch.cartesian_prod(along, along)[:, :, None] * frequency  # (N-1, 2, D / H / 4)
        angles = angles.flatten(1).tile(2)
        angles = angles[None] if keep_idx is None else angles[keep_idx]
        return F.pad(angles, (0, 0, self.num_prefix_tokens, 0))[:, None]


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Each pair of dimensions d and d + D/2 of x (…, D), turned as a point in the plane by the angle of both."""
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


def learned_tokens(num_tokens: int, embed_dim: int) -> nn.Parameter:
    """Random tokens or positions (1, N, D) to train."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, num_tokens, embed_dim), std=0.02))


def sine_positions(num_tokens: int, embed_dim: int) -> Tensor:
    """The fixed table of 'Attention Is All You Need' (1706.03762, 3.5), (N, D): sine on even, cosine on odd columns."""
    frequency = torch.exp(torch.arange(0, embed_dim, 2, dtype=torch.float64) * (-math.log(10000.0) / embed_dim))
    angle = torch.arange(num_tokens, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


def keep_patches(x: Tensor, keep_idx: Tensor, num_prefix_tokens: int = 1) -> Tensor:
    """The prefix tokens and those of the patches `keep_idx`, int64 (B, n): (B, N, D) -> (B, n + prefix tokens, D)."""
    patches = x[:, num_prefix_tokens:].gather(1, keep_idx[:, :, None].expand(-1, -1, x.shape[-1]))
    return torch.cat([x[:, :num_prefix_tokens], patches], dim=1)

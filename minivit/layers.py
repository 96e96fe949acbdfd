"""Parts of the model that depend on the settings: activations, LayerNorm, the convolutional stem, fixed positions.

B images, C channels, H × W pixels, D embed_dim, N tokens.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
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


def sine_positions(num_tokens: int, embed_dim: int) -> Tensor:
    """The fixed table of 'Attention Is All You Need' (1706.03762, 3.5), (N, D): sine on even, cosine on odd columns."""
    frequency = torch.exp(torch.arange(0, embed_dim, 2, dtype=torch.float64) * (-math.log(10000.0) / embed_dim))
    angle = torch.arange(num_tokens, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()

"""Small models with random weights away from their initialisation, so that no attention is uniform and no bias 0."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from minivit.config import ViTConfig
from minivit.model import MiniViT

KINDS: tuple[dict[str, Any], ...] = (
    {"norm": "pre", "pos_embed": "learned", "act": "gelu"},
    {"norm": "post", "pos_embed": "sine", "act": "relu"},
)


def random_model(seed: int = 0, **settings: Any) -> MiniViT:
    """A model of 3 layers, 4 heads and 16 patches in evaluation mode; `settings` are of `ViTConfig`."""
    torch.manual_seed(seed)
    config = ViTConfig(**{"depth": 3, "num_heads": 4, "embed_dim": 16, "patch_size": 8, "mlp_ratio": 2} | settings)
    model = MiniViT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn_like(parameter)
    return model


def random_images(count: int, seed: int = 1) -> torch.Tensor:
    """Float images (B, 3, 32, 32) in 0..1, each patch of its own color."""
    generator = torch.Generator().manual_seed(seed)
    colors = torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return (colors + 0.2 * torch.rand(count, 3, 32, 32, generator=generator)) / 1.2


def weights_of(model: MiniViT) -> Mapping[str, np.ndarray]:
    """A model's weights by timm's names, for the yardstick; its images are not normalized further."""
    assert not model.mean.any() and (model.std == 1).all()
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def settings_of(model: MiniViT) -> dict[str, Any]:
    """What the yardstick's forward has to be told of a model."""
    config = model.config
    return {"depth": config.depth, "num_heads": config.num_heads, "norm": config.norm, "activation": config.act}

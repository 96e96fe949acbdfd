"""Features of tokens: the residual stream before, between and after the layers; their similarity and components.

B images, L layers, N tokens, the last n of which are the patches, D embed_dim.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.attention.maps import batches, to_model
from minivit.inference import eval_mode
from minivit.model import MiniViT

NUM_COMPONENTS = 3  # red, green and blue
COLOR_RANGE = 2.5  # standard deviations of the first component from the middle of a color channel to its ends


def token_features(model: MiniViT, images: Tensor) -> Tensor:
    """Tokens as they enter each layer and leave the last, (B, L + 1, N, D); the first are the embeddings."""
    with eval_mode(model):
        x, features = model.embed(to_model(model, images)), []
        for block in model.blocks:
            features.append(x)
            x, _ = block(x)
        return torch.stack([*features, x], dim=1)


def cosine_similarity(query: Tensor, patches: Tensor) -> Tensor:
    """Cosine, -1..1, between the features of one patch (…, D) and of patches (…, n, D), of any image: (…, n)."""
    return F.cosine_similarity(query[..., None, :], patches, dim=-1)


@dataclass(frozen=True)
class PatchComponents:
    """Principal components of patch features at each of L + 1 depths, those with the most variance first.

    `mean` (L + 1, 1, D), `directions` (L + 1, D, 3) of length 1, `variance` (L + 1, 3), and its share `explained`
    (L + 1, 3) in the variance of all D dimensions.
    """

    mean: Tensor
    directions: Tensor
    variance: Tensor
    explained: Tensor

    def colors(self, patches: Tensor) -> Tensor:
        """Features of patches (L + 1, n, D) as colors, uint8 (L + 1, n, 3): the components are red, green and blue.

        As in DINOv2 (2304.07193, figure 1), but the three components share a scale: one that explains little changes
        the color little. The mean is mid-gray.
        """
        limit = COLOR_RANGE * self.variance[:, None, :1].sqrt().clamp_min(1e-12)
        positions = ((patches.double() - self.mean) @ self.directions / limit).clamp(-1, 1)
        return (127.5 + 127.5 * positions).round().to(torch.uint8)


def patch_components(model: MiniViT, images: Tensor) -> PatchComponents:
    """The components of the patches of all images (B, C, H, W) together, float64.

    Only one batch's features are in memory at a time. The sign of a component is arbitrary: here its largest
    coordinate is positive, so that the same images always give the same colors.
    """
    P, count = model.config.num_prefix_tokens, len(images) * model.config.num_patches
    mean, products = torch.zeros(()), torch.zeros(())
    for batch in batches(model, images):
        x = token_features(model, batch)[:, :, P:].transpose(0, 1).flatten(1, 2).double()  # (L + 1, b n, D)
        mean, products = mean + x.sum(1, keepdim=True) / count, products + x.mT @ x / count
    variance, directions = torch.linalg.eigh(products - mean.mT @ mean)  # ascending
    variance, directions = variance.flip(-1).clamp_min(0), directions.flip(-1)[..., :NUM_COMPONENTS]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    total = variance.sum(-1, keepdim=True).clamp_min(1e-12)
    variance = variance[:, :NUM_COMPONENTS]
    return PatchComponents(mean, directions * largest.sign(), variance, variance / total)

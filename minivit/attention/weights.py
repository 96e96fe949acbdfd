"""What the weights show without an image: patch filters and position embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.model import MiniViT

MAX_COMPONENTS = 28  # as in ViT's figure 7


def filter_components(weight: Tensor, max_components: int = MAX_COMPONENTS) -> tuple[Tensor, Tensor]:
    """Principal components of patch filters (D, C, p, p): (n, C, p, p) of unit length, and shares of variance (n,).

    The components are the eigenvectors of the covariance of D points with C·p·p coordinates, largest eigenvalue first;
    a share is an eigenvalue over the sum of all. As in ViT's figure 7, left (2010.11929). The covariance has rank at
    most D − 1, so n is at most that, C·p·p and `max_components`. The sign of a component is arbitrary: here its
    largest coordinate is positive.
    """
    points = weight.detach().double().flatten(1)
    _, scales, components = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    num = min(max_components, points.shape[0] - 1, points.shape[1])
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    shares = scales.square() / scales.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return (components * largest.sign())[:num].unflatten(1, weight.shape[1:]).float(), shares[:num].float()


def position_similarity(model: MiniViT) -> Tensor:
    """Cosine between the position embeddings of every two patches, (N-1, N-1), -1..1. As in ViT's figure 7."""
    positions = F.normalize(model.pos_embed.detach()[0, 1:], dim=-1)
    return positions @ positions.T

"""What the first weights show: patch filters, position embeddings, position and content in the scores of layer 1.

B images, H heads, N tokens with CLS first, the last n are the patches, D embed_dim.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minivit.attention.maps import batches, to_model
from minivit.config import ViTConfig
from minivit.errors import ConfigError
from minivit.inference import eval_mode
from minivit.model import Block, MiniViT

TERMS = ("content–content", "content–position", "position–content", "position–position")  # query first
MAX_COMPONENTS = 28  # as in ViT's figure 7


def filter_components(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components of patch filters (D, C, p, p): (n, C, p, p) of unit length, and shares of variance (n,).

    The components are the eigenvectors of the covariance of D points with C·p·p coordinates, largest eigenvalue first;
    a share is an eigenvalue over the sum of all. As in ViT's figure 7, left (2010.11929). The covariance has rank at
    most D − 1, so n is at most that, C·p·p and `MAX_COMPONENTS`. The sign of a component is arbitrary: here its
    largest coordinate is positive.
    """
    points = weight.detach().double().flatten(1)
    _, scales, components = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    num = min(MAX_COMPONENTS, points.shape[0] - 1, points.shape[1])
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    shares = scales.square() / scales.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return (components * largest.sign())[:num].unflatten(1, weight.shape[1:]).float(), shares[:num].float()


def position_similarity(model: MiniViT) -> Tensor:
    """Cosine between the position embeddings of every two patches, (N-1, N-1), -1..1. As in ViT's figure 7."""
    assert model.pos_embed is not None, "rotary positions are no embeddings"
    positions = F.normalize(model.pos_embed.detach()[0, 1:], dim=-1)
    return positions @ positions.T


def why_no_terms(config: ViTConfig) -> str | None:
    """Why the scores of layer 1 are not a sum of terms of position and content, or None if they are."""
    if config.pos_embed == "rotary":
        return "The scores cannot be split into position and content: rotary positions multiply both."
    if config.norm_pre or config.qk_norm:
        return "The scores cannot be split into position and content: a LayerNorm follows their sum or the query."
    return None


def position_content(model: MiniViT, images: Tensor) -> Tensor:
    """The four `TERMS` of the scores of layer 1 before softmax, (B, H, 4, N, N); their sum is the score, exactly.

    A token is content + position; with q = W_q content + b_q + W_q position, and k likewise, q·k/√d has four products
    (TUPE, 2006.15595, equation 6). The biases belong to content, so content–content is the score of a model without
    positions. The content of CLS is its learned token, the same for every image.

    A LayerNorm before attention (norm 'pre') is linear once each token's mean and deviation are held fixed: each half
    is centered, divided by the deviation of the sum and scaled by γ; β belongs to content. This is exact too, but then
    each half depends on the other through the deviation. ConfigError if `why_no_terms` has a reason.
    """
    if reason := why_no_terms(model.config):
        raise ConfigError(reason)
    assert model.pos_embed is not None
    with eval_mode(model):
        block: Block = model.blocks[0]  # type: ignore[assignment]
        tokens = model.embed(to_model(model, images))
        position = torch.zeros_like(tokens)  # registers have none
        position[:, 0] = model.pos_embed[0, 0]
        position[:, model.config.num_prefix_tokens :] = model.pos_embed[0, 1:]
        content = tokens - position
        if not block.post_norm:
            content, position = _through_norm(block.norm1, content, position)
        H, D = block.attn.num_heads, tokens.shape[-1]
        W, b = block.attn.qkv.weight[: 2 * D], block.attn.qkv.bias[: 2 * D]
        halves = torch.stack([F.linear(content, W, b), F.linear(position, W)])
        q, k = halves.unflatten(-1, (2, H, -1)).permute(3, 1, 4, 0, 2, 5)  # (B, H, 2, N, D / H) each
        terms = q[:, :, :, None] @ k[:, :, None].mT * block.attn.scale  # (B, H, 2, 2, N, N)
        return terms.flatten(2, 3)


def _through_norm(norm: torch.nn.Module, content: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves of a LayerNorm's output, with the deviation of their sum."""
    assert isinstance(norm, torch.nn.LayerNorm)
    deviation = ((content + position).var(-1, correction=0, keepdim=True) + norm.eps).sqrt()

    def through(half: Tensor) -> Tensor:
        return (half - half.mean(-1, keepdim=True)) / deviation * norm.weight

    return through(content) + norm.bias, through(position)


def term_shares(terms: Tensor) -> Tensor:
    """Share of each term in the variance of the scores over the keys, (B, H, T, Q, N) -> (B, H, T), summing to 1.

    Cov(term, Σ terms) / Var(Σ terms) over the keys, pooled over the queries; pass `terms[..., :1, :]` for CLS alone.
    A constant over the keys does not count: softmax ignores it. A term that counteracts the
    others has a negative share.
    """
    centered = terms - terms.mean(-1, keepdim=True)
    total = centered.sum(2, keepdim=True)
    return (centered * total).sum((-2, -1)) / total.square().sum((-2, -1))


@dataclass(frozen=True)
class ClsTerms:
    """The scores of CLS in layer 1 as the four `TERMS`, over B images.

    `maps` (B, H, 4, n) are the terms of each patch minus their mean over all tokens, which softmax ignores: a score
    higher by 1 means e times the attention. `shares` (H, 4) are the `term_shares` over the patches, pooled over the
    images, and `deviation` (H,) is the standard deviation of the scores. `peak` (H,) is the largest patch's attention
    over the mean patch's, mean over the images: 1 is uniform, n all on one patch.
    """

    maps: NDArray[np.float32]
    shares: NDArray[np.float32]
    deviation: NDArray[np.float32]
    peak: NDArray[np.float32]

    @property
    def position_share(self) -> NDArray[np.float32]:
        """Share of the variance in the terms with the key's position, (H,)."""
        return self.shares[:, [name.endswith("–position") for name in TERMS]].sum(1)

    @property
    def scale_max(self) -> float:
        """The end of a color scale: 4 times the uniform attention, or the 99% quantile of the maps if larger."""
        return max(float(np.log(4)), float(np.quantile(np.abs(self.maps), 0.99)))


def cls_terms(model: MiniViT, images: Tensor) -> ClsTerms:
    """The terms of CLS's scores in layer 1 for images (B, C, H, W)."""
    terms = torch.cat([position_content(model, batch)[..., 0, :] for batch in batches(model, images)])  # (B, H, 4, N)
    centered = terms - terms.mean(-1, keepdim=True)
    scores = centered.sum(2)  # (B, H, N)
    P = model.config.num_prefix_tokens
    patches = scores[..., P:]
    return ClsTerms(
        maps=centered[..., P:].cpu().numpy(),
        shares=term_shares(terms[..., P:].permute(1, 2, 0, 3)[None])[0].cpu().numpy(),
        deviation=scores.square().mean((0, 2)).sqrt().cpu().numpy(),
        peak=(patches.softmax(-1).amax(-1).mean(0) * patches.shape[-1]).cpu().numpy(),
    )

"""Tokens in every layer: their features, with similarity and principal components; attention sinks.

The features are the residual stream before, between and after the layers. Sinks are tokens that receive much attention
and pass little of themselves on. B images, L layers, H heads, N tokens (CLS first, then the registers, the last n are
the patches), D embed_dim."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.attention.maps import Head, batches, select_head, to_model
from minivit.inference import eval_mode
from minivit.model import Block, MiniViT

NUM_COMPONENTS = 3  # red, green and blue
COLOR_RANGE = 2.5  # standard deviations of the first component from the middle of a color channel to its ends


def token_features(model: MiniViT, images: Tensor) -> Tensor:
    """Tokens as they enter each layer and leave the last, (B, L + 1, N, D); the first are the embeddings."""
    with eval_mode(model):
        x = model.embed(to_model(model, images))
        features = []
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
    P = model.config.num_prefix_tokens
    count = len(images) * model.config.num_patches
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


# A token is called a sink if it receives at least this multiple of the median patch's attention, and the norm of its
# value is at most this multiple of the median patch's. No paper agrees on limits; these are ours.
SINK_ATTENTION, SINK_VALUE = 5.0, 0.5


@dataclass(frozen=True)
class TokenStatistics:
    """The tokens of one image in every layer.

    `received` (L, H, N) is the attention that each token receives, c_j = Σ_i A_ij over all N queries: 1 if attention is
    uniform, and 1 on average over the tokens. `value_norms` (L, H, N) are ‖V_j‖, and `features` (L + 1, N, D) the
    tokens as they enter each layer, then as they leave the last.
    """

    received: Tensor
    value_norms: Tensor
    features: Tensor


def token_statistics(model: MiniViT, image: Tensor) -> TokenStatistics:
    """The statistics of one image (1, C, H, W). Only one layer's attention is in memory at a time."""
    received, value_norms, features = [], [], []
    with eval_mode(model):
        x = model.embed(to_model(model, image))
        for block in model.blocks:
            assert isinstance(block, Block)
            features.append(x[0])
            x, out = block(x)
            received.append(out["attn"][0].sum(-2))
            values = block.attn.qkv(out["attn_input"][0])[:, -x.shape[-1] :]  # (N, D)
            value_norms.append(values.unflatten(-1, (block.attn.num_heads, -1)).norm(dim=-1).T)
    return TokenStatistics(torch.stack(received), torch.stack(value_norms), torch.stack([*features, x[0]]))


@dataclass(frozen=True)
class Sinks:
    """The tokens of one image compared with the median patch of the same layer.

    `received` (L, N) is c_j of one head, or the mean or maximum over heads. The others are multiples of the median over
    the patches: of c_j, `attention` (L, N); of ‖x_j‖, `token_norms` (L + 1, N), the last for the output; of ‖V_j‖,
    `value_norms` (L, N), over all heads together if no single head is selected. 'Vision Transformers Need Registers'
    (2309.16588) describes tokens with high norms that hold global instead of local information.
    """

    received: Tensor
    attention: Tensor
    token_norms: Tensor
    value_norms: Tensor
    num_patches: int

    @property
    def is_sink(self) -> Tensor:
        """Which tokens behave like sinks, bool (L, N)."""
        return (self.attention >= SINK_ATTENTION) & (self.value_norms <= SINK_VALUE)

    def top_patch(self, layer: int) -> int:
        """The index, among the patches, of the one that receives most attention in a layer."""
        return int(self.attention[layer, -self.num_patches :].argmax())

    def strongest(self) -> tuple[int, int]:
        """Layer and patch of the most attended sink, or of the most attended patch if none is a sink."""
        attention, is_sink = (values[:, -self.num_patches :] for values in (self.attention, self.is_sink))
        candidates = attention * is_sink if is_sink.any() else attention
        layer, patch = divmod(int(candidates.argmax()), self.num_patches)
        return layer, patch


def sinks(statistics: TokenStatistics, head: Head, num_patches: int) -> Sinks:
    """The comparison for one head, from 0, or the mean or maximum over heads."""
    received = select_head(statistics.received, head, dim=1)
    norms = statistics.value_norms
    value_norms = norms[:, head] if isinstance(head, int) else norms.norm(dim=1)
    return Sinks(
        received=received,
        attention=relative_to_median(received, num_patches),
        token_norms=relative_to_median(statistics.features.norm(dim=-1), num_patches),
        value_norms=relative_to_median(value_norms, num_patches),
        num_patches=num_patches,
    )


def relative_to_median(values: Tensor, num_patches: int) -> Tensor:
    """Values of tokens (…, N), the last `num_patches` of which are patches, divided by the median of the patches."""
    return values / values[..., -num_patches:].quantile(0.5, dim=-1, keepdim=True)

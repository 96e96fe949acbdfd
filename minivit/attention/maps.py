"""Attention of one forward pass, read in the ways the literature reads it. Tensors in, tensors out.

`attn` is the list that `model(images, return_attn=True)` returns: a tensor (B, H, N, N) a layer, rows are queries and
add up to 1. Token 0 is CLS; the patches follow row by row, so a map (B, N-1) is an image of grid × grid patches.
B images, H heads, N tokens, D embed_dim. Images are uint8 0..255 or float 0..1, (B, C, H, W).
"""

import math
from typing import Literal

import torch
from torch import Tensor

from minivit.errors import ConfigError
from minivit.fused import forward_cls
from minivit.inference import EVAL_BATCH, as_float, eval_mode
from minivit.model import Block, MiniViT

Head = int | Literal["mean", "max"]  # one head, from 0, or the mean or maximum over all


def read_head(text: str) -> Head:
    """A head as people write it: 'mean', 'max' or a number from 1. ConfigError for anything else."""
    if text == "mean":
        return "mean"
    if text == "max":
        return "max"
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"There is no head {text!r}. Choose 'mean', 'max' or a number from 1.")
    return int(text) - 1


def write_head(head: Head) -> str:
    """The reverse of `read_head`."""
    return head if isinstance(head, str) else str(head + 1)


def attend(model: MiniViT, images: Tensor, keep_idx: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K) and the whole attention (B, L, H, N, N) of images, without gradients.

    `keep_idx`, int64 (B, n), are the patches that stay; the tokens of the others are dropped, so that N is n + 1.
    """
    with eval_mode(model):
        logits, attn = model(to_model(model, images), return_attn=True, keep_idx=keep_idx)
    return logits.softmax(1), torch.stack(attn, dim=1)


def to_model(model: MiniViT, images: Tensor) -> Tensor:
    """Images as `model` takes them: float 0..1, on its device."""
    return as_float(images.to(model.mean.device))


def cls_map(attn: Tensor, heads: Head = "mean") -> Tensor:
    """What CLS looks at in one layer, (B, H, N, N) -> (B, N-1): one head, or the mean or maximum over heads.

    The values are the attention weights themselves; what CLS pays to itself is left out, so they add up to less
    than 1. As in DINO (2104.14294).
    """
    rows = attn[:, :, 0, 1:]
    if heads == "mean":
        return rows.mean(1)
    if heads == "max":
        return rows.amax(1)
    if not isinstance(heads, int) or not 0 <= heads < attn.shape[1]:
        raise ConfigError(f"There is no head {heads!r}. Choose 'mean', 'max' or 0 to {attn.shape[1] - 1}.")
    return rows[:, heads]


def rollout(attn: list[Tensor]) -> Tensor:
    """Attention followed through all layers from CLS to the patches, (B, N-1), as it is, not rescaled.

    R = Â_L ⋯ Â_1 with Â = ½ (mean over heads + I), then R[0, 1:]. Abnar & Zuidema (2005.00928).
    """
    identity = torch.eye(attn[0].shape[-1], dtype=attn[0].dtype, device=attn[0].device)
    joint = identity
    for layer in attn:
        joint = (layer.mean(1) + identity) / 2 @ joint
    return joint[:, 0, 1:]


def relevance(model: MiniViT, images: Tensor, classes: Tensor, against: Tensor | None = None) -> Tensor:
    """What speaks for one class per image, (B, N-1), from images and class indices (B,).

    R = I; layer by layer R ← R + ĀR with Ā = mean over heads of (∇A ⊙ A)⁺, clamped before the mean; then R[0, 1:].
    ∇A is the gradient of the class's logit. Chefer, Gur & Wolf (2103.15679, equations 5 and 6). With `against` (B,)
    it is the gradient of the difference of two logits: what speaks for one class rather than the other. The paper
    asks for any one output; the difference is one, whereas two clamped maps taken from each other would leave
    standing what speaks for both.
    """
    training = model.training
    model.eval()
    with torch.enable_grad():
        logits, attn = model(to_model(model, images).detach().requires_grad_(), return_attn=True)
        gradients = torch.autograd.grad(class_score(logits, classes, against).sum(), attn)
    model.train(training)
    identity = torch.eye(attn[0].shape[-1], dtype=attn[0].dtype, device=attn[0].device)
    relevant = identity.expand(len(images), -1, -1)
    for layer, gradient in zip(attn, gradients, strict=True):
        relevant = relevant + (gradient * layer.detach()).clamp(min=0).mean(1) @ relevant
    return relevant[:, 0, 1:]


def class_score(logits: Tensor, classes: Tensor, against: Tensor | None = None) -> Tensor:
    """The logit of one class per image, (B, K) -> (B,), less that of the class `against` where it is given."""
    score = logits.gather(1, classes.to(logits.device).view(-1, 1))[:, 0]
    return score if against is None else score - class_score(logits, against)


def value_weighted(model: MiniViT, images: Tensor) -> list[Tensor]:
    """How much token i really takes from token j, ‖α_ij f(x_j)‖: a tensor (B, H, N, N) a layer, for `cls_map`.

    f(x) = (x W_V + b_V) W_O of one head: a token with a short value vector adds little however much it is looked
    at. Kobayashi et al. (2004.10102, equation 5). Units are those of the embedding, not shares of 1.
    """
    with eval_mode(model):
        _, out = model.forward_tokens(model.embed(to_model(model, images)), ("attn_input", "attn"))
        return [
            attn * _value_norms(block, x)[:, :, None]  # type: ignore[arg-type]
            for block, x, attn in zip(model.blocks, out["attn_input"], out["attn"], strict=True)
        ]


def _value_norms(block: Block, x: Tensor) -> Tensor:
    """‖f(x_j)‖ of every head and token, from what the attention reads, (B, N, D) -> (B, H, N)."""
    H, D = block.attn.num_heads, x.shape[-1]
    W_v, b_v = block.attn.qkv.weight[2 * D :], block.attn.qkv.bias[2 * D :]
    v = torch.nn.functional.linear(x, W_v, b_v).unflatten(-1, (H, -1))  # (B, N, H, D / H)
    W_o = block.attn.proj.weight.view(D, H, -1)
    return torch.einsum("bnhd,ehd->bhne", v, W_o).norm(dim=-1)


TERMS = ("content–content", "content–position", "position–content", "position–position")  # the query's half first


def position_content(model: MiniViT, images: Tensor) -> Tensor:
    """The scores of layer 1 before softmax, taken apart into the four `TERMS`: (B, H, 4, N, N), exactly adding up.

    A token is content + position; q = W_q content + b_q + W_q position, and k alike, give four products over √d
    (TUPE, 2006.15595, equation 6). The biases go with content, so that content–content is the score of a model
    without positions. CLS's content is its learned token, the same for every image.

    Where a LayerNorm stands before attention (norm 'pre'), it is linear once the mean and deviation that each token
    really has are held fixed: each half is centred, divided by the whole token's deviation and scaled by γ; β goes
    with content. Still exact, but a half then depends on the other one through the deviation that they share.
    """
    with eval_mode(model):
        block: Block = model.blocks[0]  # type: ignore[assignment]
        tokens = model.embed(to_model(model, images))
        position = model.pos_embed.expand_as(tokens)
        content = tokens - position
        if not block.post_norm:
            content, position = _through_norm(block.norm1, content, position)
        H, D = block.attn.num_heads, tokens.shape[-1]
        W, b = block.attn.qkv.weight[: 2 * D], block.attn.qkv.bias[: 2 * D]
        halves = torch.stack([torch.nn.functional.linear(content, W, b), torch.nn.functional.linear(position, W)])
        q, k = halves.unflatten(-1, (2, H, -1)).permute(3, 1, 4, 0, 2, 5)  # (B, H, 2, N, D / H) each
        terms = q[:, :, :, None] @ k[:, :, None].mT * block.attn.scale  # (B, H, 2, 2, N, N)
        return terms.flatten(2, 3)


def _through_norm(norm: torch.nn.LayerNorm, content: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves of a LayerNorm's output, with the deviation of their sum."""
    deviation = ((content + position).var(-1, correction=0, keepdim=True) + norm.eps).sqrt()

    def through(half: Tensor) -> Tensor:
        return (half - half.mean(-1, keepdim=True)) / deviation * norm.weight

    return through(content) + norm.bias, through(position)


def term_shares(terms: Tensor) -> Tensor:
    """Share of each term in how the scores differ from key to key, (B, H, T, Q, N) -> (B, H, T), adding up to 1.

    Cov(term, Σ terms) / Var(Σ terms) over the keys, pooled over the queries; give `terms[..., :1, :]` for CLS alone.
    What is the same for every key does not count, as softmax ignores it. A term that works against the others has a
    share below 0.
    """
    centred = terms - terms.mean(-1, keepdim=True)
    whole = centred.sum(2, keepdim=True)
    return (centred * whole).sum((-2, -1)) / whole.square().sum((-2, -1))


def head_effects(model: MiniViT, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Whether images are predicted correctly: bool (depth, H, B) with each head ablated, and (B,) with none.

    An ablated head's context is zero before `attn.proj`, one head at a time. Michel et al. (1905.10650). The layers
    before it are computed once.
    """
    L, H, device = model.config.depth, model.config.num_heads, model.mean.device
    ablated, complete, size = [], [], EVAL_BATCH[device.type]
    masks = ~torch.eye(L * H, dtype=torch.bool, device=device).view(L, H, L, H)  # one without each head
    with eval_mode(model):
        for batch, target in zip(images.split(size), labels.to(device).split(size), strict=True):
            logits, out = model.forward_tokens(model.embed(to_model(model, batch)), ["tokens"])
            complete.append(logits.argmax(1) == target)
            correct = [
                forward_cls(model, out["tokens"][layer], masks[layer, head], first=layer)[0].argmax(1) == target
                for layer in range(L)
                for head in range(H)
            ]
            ablated.append(torch.stack(correct).view(L, H, -1))
    return torch.cat(ablated, dim=-1), torch.cat(complete)


def distance(attn: Tensor, patch_size: int) -> Tensor:
    """How far each head of one layer looks, in pixels: (B, H, N, N) -> (B, H).

    Mean over the patches i of Σ_j a_ij · ‖position i − position j‖, patches only, each row made to add up to 1.
    Dosovitskiy et al. (2010.11929, figure 7).
    """
    patches = attn[:, :, 1:, 1:]
    patches = patches / patches.sum(-1, keepdim=True)
    grid = round(patches.shape[-1] ** 0.5)
    axis = torch.arange(grid, dtype=attn.dtype, device=attn.device)
    position = torch.cartesian_prod(axis, axis) * patch_size
    return (patches * torch.cdist(position, position)).sum(-1).mean(-1)


def uniform_distance(grid: int, patch_size: int) -> float:
    """What `distance` is for attention spread evenly over grid × grid patches, in pixels."""
    return float(distance(torch.ones(1, 1, grid**2 + 1, grid**2 + 1), patch_size))


def entropy(maps: Tensor) -> Tensor:
    """How evenly a map is spread, (B, n) -> (B,): 1 is uniform, 0 is all on one patch.

    Shannon's entropy of the map made to add up to 1, over ln n.
    """
    shares = maps / maps.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / torch.tensor(float(maps.shape[-1])).log()


def divergence(maps_a: Tensor, maps_b: Tensor) -> Tensor:
    """How different two maps are, (B, n) each -> (B,): 0 the same, 1 no patch in common.

    The Jensen–Shannon divergence in bits of the maps made to add up to 1 (Lin 1991, doi 10.1109/18.61115).
    """
    a, b = (maps.double() / maps.double().sum(-1, keepdim=True) for maps in (maps_a, maps_b))
    entropy_of = torch.special.entr
    nats = (entropy_of((a + b) / 2) - (entropy_of(a) + entropy_of(b)) / 2).sum(-1)
    return (nats / math.log(2)).clamp(0, 1).to(maps_a.dtype)


def image_dependence(maps: Tensor) -> float:
    """1 − mean Pearson correlation between the maps of every two images, (B, n): 0 where all have the same pattern.

    A correlation knows no size: it sees the pattern of a map that hardly differs from uniform as clearly as any. An
    untrained model scores high here, up to 1 + 1 / (B − 1), by differences that are too small to matter; read it
    beside `image_share`.
    """
    maps = maps.detach().double()
    centred = torch.nn.functional.normalize(maps - maps.mean(-1, keepdim=True), dim=-1)
    B = len(maps)
    all_pairs = centred.sum(0).square().sum() - centred.square().sum()  # Σ over i ≠ j of their correlation
    return float(1 - all_pairs / (B * (B - 1)))


def image_share(maps: Tensor) -> float:
    """The share of a map that lies elsewhere than in the average map, 0..1, mean over images (B, n).

    ½ Σ_j |p_j − mean p_j| of maps made to add up to 1, the total variation distance. Unlike `image_dependence` it
    counts by how much attention moves with the image: near 0 for an untrained model, however little its tiny
    differences correlate.
    """
    shares = maps.detach() / maps.detach().sum(-1, keepdim=True)
    return float(image_specific(shares).abs().sum(-1).mean() / 2)


def image_specific(maps: Tensor) -> Tensor:
    """What a map has beyond the average of all images, signed: maps − their mean over B, (B, n)."""
    return maps - maps.mean(0)


def position_similarity(model: MiniViT) -> Tensor:
    """Cosine between the position embeddings of every two patches, (N-1, N-1), -1..1. As in ViT's figure 7."""
    positions = torch.nn.functional.normalize(model.pos_embed.detach()[0, 1:], dim=-1)
    return positions @ positions.T

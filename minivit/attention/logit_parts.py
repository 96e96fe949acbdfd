"""Parts of a logit: shares of patches, CLS and biases; direct contributions of heads and MLPs; the logit lens.

The logit lens is the prediction of each token after each layer. B images, L layers, H heads, N tokens (CLS first, the
last n are the patches), D embed_dim, K classes."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minivit.attention.attribution import class_score
from minivit.attention.maps import to_model
from minivit.attention.tokens import token_features
from minivit.config import ViTConfig
from minivit.errors import ConfigError
from minivit.inference import eval_mode, logits
from minivit.model import Attention, Block, MiniViT, Mlp


@dataclass(frozen=True)
class LogitShares:
    """The parts of one logit per image, in logits: of the patches (B, n), of CLS and registers (B,), of biases (B,)."""

    patches: Tensor
    cls: Tensor
    bias: Tensor

    @property
    def logit(self) -> Tensor:
        """Their sum, (B,)."""
        return self.patches.sum(1) + self.cls + self.bias


def logit_shares(model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None) -> LogitShares:
    """The logit shares of images (B, C, H, W) for one class each, (B,), or for its difference from `contrast`.

    LibraGrad (2411.16760). The forward pass is unchanged. In the backward pass attention weights, the deviations of
    LayerNorm and the factors act(x) / x of the activation are constants. Then the logit f_c is linear in the tokens t
    (after positions) and the biases b together, so that f_c = Σ_j t_j · ∂f_c/∂t_j + Σ b · ∂f_c/∂b, exactly.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    model = copy.deepcopy(model, shared).eval()  # the same parameters in new modules, which alone get hooks
    outputs_with_bias: list[tuple[Tensor, Tensor]] = []  # outputs (B, …, M) and the bias (M,) in each
    for module in model.modules():
        _make_linear(module, outputs_with_bias)
    with torch.enable_grad():
        tokens = model.embed(to_model(model, images)).detach().requires_grad_()
        outputs_with_bias.clear()  # of the patch embedding, which is part of the tokens
        logits, _ = model.forward_tokens(tokens)
        score = class_score(logits, classes, contrast).sum()
        inputs = [tokens, *(output for output, _ in outputs_with_bias)]
        gradients = torch.autograd.grad(score, inputs, materialize_grads=True)
    with torch.no_grad():
        shares = (tokens * gradients[0]).sum(-1)  # (B, N)
        bias = torch.zeros_like(shares[:, 0])
        for gradient, (_, b) in zip(gradients[1:], outputs_with_bias, strict=True):
            bias += (gradient * b).flatten(1).sum(1)
    P = model.config.num_prefix_tokens
    return LogitShares(shares[:, P:], shares[:, :P].sum(1), bias)


def target_logit(model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None) -> Tensor:
    """The logit of one class per image, (B,), or its difference from `contrast`'s: what the parts have to add up to."""
    return class_score(logits(model, images), classes.to(model.std.device), contrast).cpu()


def _make_linear(module: nn.Module, outputs_with_bias: list[tuple[Tensor, Tensor]]) -> None:
    """Adds hooks that make non-linear parts constant in the backward pass, and that collect outputs with a bias."""

    def collect(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if not output.requires_grad:  # normalized queries and keys, which are constants
            return output
        if isinstance(module, nn.LayerNorm):
            x = inputs[0]
            deviation = (x.var(-1, correction=0, keepdim=True) + module.eps).sqrt().detach()
            output = (x - x.mean(-1, keepdim=True)) / deviation * module.weight + module.bias
        assert isinstance(module.bias, Tensor)
        outputs_with_bias.append((output, module.bias))
        return output

    def scale(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        x = inputs[0]
        return x * (output / torch.where(x == 0, torch.ones_like(x), x)).detach()

    def hold(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output.detach()

    if isinstance(module, nn.Linear | nn.LayerNorm):
        module.register_forward_hook(collect)
    if isinstance(module, Attention):
        module.q_norm.register_forward_hook(hold)
        module.k_norm.register_forward_hook(hold)
    if isinstance(module, Mlp):
        module.act.register_forward_hook(scale)


@dataclass(frozen=True)
class Contributions:
    """The terms of one logit per image, in logits; together they are the logit.

    `heads` (B, L, H, N) is what each head writes into CLS from each source token, `mlps` (B, L) what each MLP writes,
    `cls` (B,) is the CLS embedding, `bias` (B,) all biases outside of the heads and MLPs.
    """

    heads: Tensor
    mlps: Tensor
    cls: Tensor
    bias: Tensor

    @property
    def logit(self) -> Tensor:
        """Their sum, (B,)."""
        return self.heads.sum((1, 2, 3)) + self.mlps.sum(1) + self.cls + self.bias


def why_no_contributions(config: ViTConfig) -> str | None:
    """Why a logit cannot be decomposed into contributions of heads and MLPs, or None if it can."""
    if config.norm == "post":
        return "Direct contributions need LayerNorm 'pre': with 'post', each block normalizes the sum of all before it."
    if config.pool != "cls" or not config.num_classes:
        return "Direct contributions need a classifier head that reads CLS alone."
    return None


def direct_contributions(
    model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None
) -> Contributions:
    """The direct contributions to the logit of one class per image, (B,), or to its difference from `contrast`'s.

    In a pre-norm model CLS sums its embedding, each head's Σ_j a_hj (x_j W_V + b_V) W_O, the biases of W_O, and each
    MLP. With the deviation of the last LayerNorm held at its value, W_c · γ (part − mean) / σ is the part's term
    (2310.05916). ConfigError if `why_no_contributions` has a reason.
    """
    if reason := why_no_contributions(model.config):
        raise ConfigError(reason)
    heads, mlps = [], []
    bias: list[Tensor] = []
    with eval_mode(model):
        x = model.embed(to_model(model, images))
        embedded = x[:, 0]
        for block in model.blocks:
            assert isinstance(block, Block)
            attn_output, attn, _ = block.attn(block.norm1(x))
            heads.append(_head_outputs(block, attn[:, :, 0], block.norm1(x)))
            bias.append(block.attn.proj.bias)
            before_mlp = x[:, 0] + attn_output[:, 0]
            x = block.after_attention(x, attn_output)
            mlps.append(x[:, 0] - before_mlp)
        weight, constant = _direction(model, x[:, 0], classes, contrast)
        head_outputs = torch.stack(heads, dim=1)  # (B, L, H, N, D)
        return Contributions(
            heads=torch.einsum("blhnd,bd->blhn", head_outputs, weight),
            mlps=torch.einsum("bld,bd->bl", torch.stack(mlps, dim=1), weight),
            cls=(embedded * weight).sum(1),
            bias=constant + weight @ torch.stack(bias).sum(0),
        )


def _head_outputs(block: Block, attn: Tensor, x: Tensor) -> Tensor:
    """a_hj (x_j W_V + b_V) W_O of CLS's rows (B, H, N) and the attention's inputs (B, N, D): (B, H, N, D)."""
    H, D = block.attn.num_heads, x.shape[-1]
    W_v, b_v = block.attn.qkv.weight[2 * D :], block.attn.qkv.bias[2 * D :]
    v = (x @ W_v.T + b_v).unflatten(-1, (H, -1))  # (B, N, H, D / H)
    W_o = block.attn.proj.weight.view(D, H, -1)
    return torch.einsum("bhn,bnhe,dhe->bhnd", attn, v, W_o)


def _direction(model: MiniViT, cls: Tensor, classes: Tensor, contrast: Tensor | None) -> tuple[Tensor, Tensor]:
    """The vectors (B, D) whose product with a part of CLS is its term, and the constant terms (B,)."""
    norm, head = model.norm, model.head
    assert isinstance(norm, nn.LayerNorm) and isinstance(head, nn.Linear)
    rows = head.weight[classes] - (0 if contrast is None else head.weight[contrast])
    deviation = (cls.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    weight = rows * norm.weight
    weight = (weight - weight.mean(-1, keepdim=True)) / deviation  # the mean of a part is subtracted from it
    offset = class_score(head.bias.expand(len(cls), -1), classes, contrast)
    return weight, rows @ norm.bias + offset


def why_no_lens(config: ViTConfig) -> str | None:
    """Why the head cannot be applied to every token, or None if it can."""
    is_readable = config.pool == "cls" and config.num_classes
    return None if is_readable else "The logit lens needs a classifier head that reads CLS alone."


def logit_lens(model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None) -> Tensor:
    """The logit of one class per image that each token would have after each layer, (B, L + 1, N); 0 is the embedding.

    W_c · LN(x_l,i) with the last LayerNorm and the head. Only CLS after the last layer was trained for it.
    """
    if reason := why_no_lens(model.config):
        raise ConfigError(reason)
    with eval_mode(model):
        logits = model.head(model.norm(token_features(model, images)))  # (B, L + 1, N, K)
    B, depth, N, K = logits.shape
    repeated = classes.repeat_interleave(depth * N)
    repeated_contrast = None if contrast is None else contrast.repeat_interleave(depth * N)
    return class_score(logits.reshape(-1, K), repeated, repeated_contrast).view(B, depth, N)

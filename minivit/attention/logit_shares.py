"""Logit shares: what each patch, CLS and the biases contribute to a logit; they sum to the logit.

B images, N tokens (CLS first, the last n are the patches), D embed_dim, K classes.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minivit.attention.attribution import class_score
from minivit.attention.maps import to_model
from minivit.model import Attention, MiniViT, Mlp


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
    model = _shared_copy(model).eval()
    biased: list[tuple[Tensor, Tensor]] = []  # outputs (B, …, M) and the bias (M,) in each
    for module in model.modules():
        _make_linear(module, biased)
    with torch.enable_grad():
        tokens = model.embed(to_model(model, images)).detach().requires_grad_()
        biased.clear()  # of the patch embedding, which is part of the tokens
        logits, _ = model.forward_tokens(tokens)
        score = class_score(logits, classes, contrast).sum()
        inputs = [tokens, *(output for output, _ in biased)]
        gradients = torch.autograd.grad(score, inputs, materialize_grads=True)
    with torch.no_grad():
        shares = (tokens * gradients[0]).sum(-1)  # (B, N)
        bias = torch.zeros_like(shares[:, 0])
        for gradient, (_, b) in zip(gradients[1:], biased, strict=True):
            bias += (gradient * b).flatten(1).sum(1)
    P = model.config.num_prefix_tokens
    return LogitShares(shares[:, P:], shares[:, :P].sum(1), bias)


def _shared_copy(model: MiniViT) -> MiniViT:
    """The same parameters in new modules, so that hooks do not affect the original."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def _make_linear(module: nn.Module, biased: list[tuple[Tensor, Tensor]]) -> None:
    """Adds hooks that make non-linear parts constant in the backward pass, and that collect outputs with a bias."""

    def collect(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if not output.requires_grad:  # normalized queries and keys, which are constants
            return output
        if isinstance(module, nn.LayerNorm):
            x = inputs[0]
            deviation = (x.var(-1, correction=0, keepdim=True) + module.eps).sqrt().detach()
            output = (x - x.mean(-1, keepdim=True)) / deviation * module.weight + module.bias
        assert isinstance(module.bias, Tensor)
        biased.append((output, module.bias))
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

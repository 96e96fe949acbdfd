"""Attribution by gradients: which patches a class's logit depends on, according to its gradient.

B images, N tokens with CLS first, K classes.
"""

import torch
from torch import Tensor

from minivit.attention.maps import to_model
from minivit.model import MiniViT


def relevance(model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None) -> Tensor:
    """Class relevance (B, N-1) of the patches for one class index per image, classes (B,).

    R = I; for each layer R ← R + ĀR with Ā = mean over heads of (∇A ⊙ A)⁺, clamped before the mean; then R[0, 1:].
    ∇A is the gradient of the class's logit. Chefer, Gur & Wolf (2103.15679, equations 5 and 6). With `contrast` (B,)
    it is the gradient of the difference of two logits. The paper explains any scalar output, and the difference is
    one; the difference of two clamped maps would still show what increases both logits.
    """
    training = model.training
    model.eval()
    with torch.enable_grad():
        logits, attn = model(to_model(model, images).detach().requires_grad_(), return_attn=True)
        gradients = torch.autograd.grad(class_score(logits, classes, contrast).sum(), attn)
    model.train(training)
    R = torch.eye(attn[0].shape[-1], dtype=attn[0].dtype, device=attn[0].device).expand(len(images), -1, -1)
    for layer, gradient in zip(attn, gradients, strict=True):
        R = R + (gradient * layer.detach()).clamp(min=0).mean(1) @ R
    return R[:, 0, 1:]


def class_score(logits: Tensor, classes: Tensor, contrast: Tensor | None = None) -> Tensor:
    """The logit of one class per image, (B, K) -> (B,), minus that of the class `contrast` if it is given."""
    score = logits.gather(1, classes.to(logits.device).view(-1, 1))[:, 0]
    return score if contrast is None else score - class_score(logits, contrast)

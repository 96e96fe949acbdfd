"""Attribution: by gradients, by the values that attention transports, and by removing one patch at a time.

B images, H heads, N tokens (CLS first, the last P are the patches), D embed_dim, K classes. A removed patch is painted
over (occlusion), or its token is dropped after the embedding and CLS stays (leave-one-out). With a convolutional stem,
patches see their neighbors before that, so traces of a dropped patch remain in the others.
"""

from collections.abc import Callable, Container, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.attention.maps import to_model
from minivit.fused import forward_cls
from minivit.inference import chunks, eval_mode, logits
from minivit.model import Block, MiniViT

Report = Callable[[float], None]  # is called with the fraction done, 0..1; what it raises ends the computation


def no_report(share: float) -> None:
    """Shows no progress."""


def relevance(model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None) -> Tensor:
    """Class relevance (B, P) of the patches for one class index per image, classes (B,).

    R = I; for each layer R ← R + ĀR with Ā = mean over heads of (∇A ⊙ A)⁺, clamped before the mean; then R[0, patches].
    ∇A is the gradient of the class's logit. Chefer, Gur & Wolf (2103.15679, equations 5 and 6). With `contrast` (B,)
    it is the gradient of the difference of two logits. The paper's method explains any scalar output, such as
    this difference; the difference of two clamped maps would also show what increases both logits.
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
    return R[:, 0, model.config.num_prefix_tokens :]


def class_score(logits: Tensor, classes: Tensor, contrast: Tensor | None = None) -> Tensor:
    """The logit of one class per image, (B, K) -> (B,), minus that of the class `contrast` if it is given."""
    score = logits.gather(1, classes.to(logits.device).view(-1, 1))[:, 0]
    return score if contrast is None else score - class_score(logits, contrast)


def value_weighted(model: MiniViT, images: Tensor, layers: Container[int] | None = None) -> list[Tensor]:
    """‖α_ij f(x_j)‖, the norm of what token i receives from token j: one tensor (B, H, N, N) per layer, for `cls_map`.

    f(x) = (x W_V + b_V) W_O of one head. Kobayashi et al. (2004.10102, equation 5). The unit is that of the
    embedding; rows do not sum to 1. If `layers`, from 0, are passed, only theirs are returned.
    """
    matrices = []
    with eval_mode(model):
        x = model.embed(to_model(model, images))
        for layer, block in enumerate(model.blocks):
            x, out = block(x)
            if layers is None or layer in layers:
                matrices.append(out["attn"] * value_norms(block, out["attn_input"])[:, :, None])  # type: ignore[arg-type]
    return matrices


def value_norms(block: Block, x: Tensor) -> Tensor:
    """‖f(x_j)‖ of every head and token, (B, N, D) -> (B, H, N)."""
    H, D = block.attn.num_heads, x.shape[-1]
    W_v, b_v = block.attn.qkv.weight[2 * D :], block.attn.qkv.bias[2 * D :]
    v = F.linear(x, W_v, b_v).unflatten(-1, (H, -1))  # (B, N, H, D / H)
    W_o = block.attn.proj.weight.view(D, H, -1)
    return torch.einsum("bnhd,ehd->bhne", v, W_o).norm(dim=-1)


def occlusion(
    model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None, report: Report = no_report
) -> Tensor:
    """f_c(x) − f_c(x with patch j in the image's mean color), signed, (B, P); f_c is the logit of class c.

    Zeiler & Fergus (1311.2901). With `contrast` f_c is the difference of two logits. The logit is used because a
    probability saturates where the model is confident.
    """
    images = to_model(model, images)
    patches = torch.arange(model.config.num_patches, device=images.device)
    grid = patches.view(1, 1, model.config.grid, -1).float()
    patch_of_pixel = F.interpolate(grid, scale_factor=model.config.patch_size)[0].long()  # (1, H, W)
    mean = images.mean((2, 3), keepdim=True)

    def masked_logits(image: Tensor, patch: Tensor) -> Tensor:
        masked = (patch_of_pixel == patch.view(-1, 1, 1))[:, None]
        return logits(model, torch.where(masked, mean[image], images[image]))

    return _logit_decrease(model, images, classes, contrast, masked_logits, report)


def leave_one_out(
    model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None, report: Report = no_report
) -> Tensor:
    """f_c(x) − f_c(x without token j), signed, (B, P); as `occlusion`, but the token is dropped (2204.08945)."""
    images = to_model(model, images)
    patches = torch.arange(model.config.num_patches, device=images.device)

    def masked_logits(image: Tensor, patch: Tensor) -> Tensor:
        keep_idx = patches[:-1] + (patches[:-1] >= patch[:, None])  # all but one, in order
        return forward_cls(model, model.embed(images[image], keep_idx), keep_idx=keep_idx)[0]

    return _logit_decrease(model, images, classes, contrast, masked_logits, report)


def _logit_decrease(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    contrast: Tensor | None,
    masked_logits: Callable[[Tensor, Tensor], Tensor],
    report: Report,
) -> Tensor:
    """The decrease (B, P) of a class's logit; `masked_logits(image, patch)` are logits (n, K) of
    images without one patch each, both by index (n,)."""
    P = model.config.num_patches
    targets = torch.stack([classes] if contrast is None else [classes, contrast]).to(images.device)

    def score(values: Tensor, image: Tensor) -> Tensor:
        return class_score(values, *targets[:, image])

    with eval_mode(model):
        chunks_of_images = memory_bounded_chunks(torch.arange(len(images), device=images.device), model)
        complete = torch.cat([score(logits(model, images[chunk]), chunk) for chunk in chunks_of_images])
        rows = torch.arange(len(images) * P, device=images.device)  # a row is image · P + patch
        masked = []
        for chunk in memory_bounded_chunks(rows, model):
            report(int(chunk[0]) / len(rows))
            masked.append(score(masked_logits(chunk // P, chunk % P), chunk // P))
    return complete[:, None] - torch.cat(masked).view(-1, P)


def memory_bounded_chunks(rows: Tensor, model: MiniViT) -> Iterator[Tensor]:
    """Rows in chunks whose tokens and attention fit into a CPU's cache, or into a share of a GPU's memory."""
    config = model.config
    N = config.num_tokens
    values_per_row = config.num_heads * N * N + N * config.embed_dim * (4 + config.mlp_ratio) + config.img_size**2
    max_values = 2**22 if rows.device.type == "cpu" else 2**27
    return chunks(rows, int(max_values / values_per_row))

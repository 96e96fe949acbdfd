"""Attribution by removing one patch at a time: painted over (occlusion) or its token dropped (leave-one-out).

B images, P patches. A token is dropped after the embedding, CLS stays. If patches see their neighbours before that
(a convolutional stem), traces of a dropped patch remain in the others.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.attention.gradients import class_score
from minivit.attention.maps import to_model
from minivit.fused import forward_cls
from minivit.inference import eval_mode, logits
from minivit.model import MiniViT


def occlusion(model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None) -> Tensor:
    """f_c(x) − f_c(x with patch j in the image's mean color), signed, (B, P); f_c is the logit of class c.

    Zeiler & Fergus (1311.2901). With `contrast` f_c is the difference of two logits. A logit, because a probability
    saturates where the model is confident.
    """
    images = to_model(model, images)
    patches = torch.arange(model.config.num_patches, device=images.device)
    grid = patches.view(1, 1, model.config.grid, -1).float()
    patch_of_pixel = F.interpolate(grid, scale_factor=model.config.patch_size)[0].long()  # (1, H, W)
    mean = images.mean((2, 3), keepdim=True)

    def without(image: Tensor, patch: Tensor) -> Tensor:
        masked = (patch_of_pixel == patch.view(-1, 1, 1))[:, None]
        return logits(model, torch.where(masked, mean[image], images[image]))

    return _logit_decrease(model, images, classes, contrast, without)


def leave_one_out(model: MiniViT, images: Tensor, classes: Tensor, contrast: Tensor | None = None) -> Tensor:
    """f_c(x) − f_c(x without token j), signed, (B, P); as `occlusion`, but the token is dropped (2204.08945)."""
    images = to_model(model, images)
    patches = torch.arange(model.config.num_patches, device=images.device)

    def without(image: Tensor, patch: Tensor) -> Tensor:
        keep_idx = patches[:-1] + (patches[:-1] >= patch[:, None])  # all but one, in order
        return forward_cls(model, model.embed(images[image], keep_idx))[0]

    return _logit_decrease(model, images, classes, contrast, without)


def _logit_decrease(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    contrast: Tensor | None,
    without: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The decrease (B, P) of a class's logit; `without(image, patch)`, (n,) each, gives logits (n, K)."""
    P = model.config.num_patches
    targets = torch.stack([classes] if contrast is None else [classes, contrast]).to(images.device)

    def score(values: Tensor, image: Tensor) -> Tensor:
        return class_score(values, *targets[:, image])

    with eval_mode(model):
        image_indices = torch.arange(len(images), device=images.device)
        complete = torch.cat([score(logits(model, images[chunk]), chunk) for chunk in chunks(image_indices, model)])
        rows = torch.arange(len(images) * P, device=images.device)  # a row is image · P + patch
        masked = torch.cat([score(without(chunk // P, chunk % P), chunk // P) for chunk in chunks(rows, model)])
    return complete[:, None] - masked.view(-1, P)


def chunks(rows: Tensor, model: MiniViT) -> Iterator[Tensor]:
    """Rows in chunks whose tokens and attention fit the cache of a CPU, or a share of a GPU's memory."""
    config = model.config
    N = config.num_patches + 1
    values_per_row = config.num_heads * N * N + N * config.embed_dim * (4 + config.mlp_ratio) + config.img_size**2
    max_values = 2**22 if rows.device.type == "cpu" else 2**27
    return iter(rows.split(max(1, int(max_values / values_per_row))))

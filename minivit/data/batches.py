"""Pure functions on a batch of images: size and channels, patches, statistics, augmentation.

B or N images, C channels, H × W pixels, p patch_size.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.data.mapped import Images, chunks


def fit(images: Images, img_size: int, in_chans: int) -> Images:
    """uint8 (N, C, H, W) -> uint8 (N, in_chans, img_size, img_size), antialiased; what fits comes back as it is."""
    if images.shape[1:] == (in_chans, img_size, img_size):
        return images
    return torch.cat([fit_chunk(chunk, img_size, in_chans) for chunk in chunks(images)])


def fit_chunk(images: Tensor, img_size: int, in_chans: int) -> Tensor:
    """What `fit` gives of a few images."""
    if images.shape[1] == 3 and in_chans == 1:
        r, g, b = images.to(torch.int32).split(1, dim=1)
        images = ((19595 * r + 38470 * g + 7471 * b + 2**15) >> 16).to(torch.uint8)  # ITU-R 601, as PIL has it
    if images.shape[2:] != (img_size, img_size):
        images = F.interpolate(images, size=(img_size, img_size), mode="bicubic", antialias=True)
    return images.expand(-1, in_chans, -1, -1)


def patches(images: Tensor, patch_size: int) -> Tensor:
    """(N, C, H, W) -> (N, num_patches, C, p, p), row by row, as the model gets them."""
    N, C, H, W = images.shape
    p = patch_size
    assert H % p == 0 and W % p == 0, f"{p} px do not divide {H} × {W} px"
    grid = images.reshape(N, C, H // p, p, W // p, p)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(N, (H // p) * (W // p), C, p, p)


def channel_stats(images: Images) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, float32 (C,) each, in 0..1, of uint8 (N, C, H, W)."""
    histogram = torch.zeros(images.shape[1], 256, dtype=torch.int64, device=images.device)
    for chunk in chunks(images):
        for channel, counts in zip(chunk.unbind(1), histogram, strict=True):
            counts += torch.bincount(channel.flatten(), minlength=256)
    share = histogram.cpu().double() / histogram.sum(1, keepdim=True).cpu()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    variance = share @ values**2 - mean**2
    return mean.float().to(images.device), variance.clamp(min=0).sqrt().float().to(images.device)


def augment(images: Tensor, how: Literal["none", "flip", "flip-crop"], generator: torch.Generator) -> Tensor:
    """A batch (B, C, H, W) of any dtype, each image changed at random by itself.

    'flip' mirrors left and right with probability ½; 'flip-crop' also shifts by up to 12.5 % of the side, as does a
    random crop of the image padded with its own reflection. Randomness comes from `generator` alone, drawn on the
    generator's device, so that a seed gives the same changes wherever the images are.
    """
    if how == "none":
        return images
    B, C, H, W = images.shape
    device = generator.device

    def draw(low: int, high: int) -> Tensor:
        """A whole number low..high for each image."""
        return torch.randint(low, high + 1, (B, 1), generator=generator, device=device)

    rows, cols = torch.arange(H, device=device).expand(B, H), torch.arange(W, device=device).expand(B, W)
    flipped = draw(0, 1) == 1
    if how == "flip-crop":
        rows = _reflect(rows + draw(-(H // 8), H // 8), H)
        cols = _reflect(cols + draw(-(W // 8), W // 8), W)
    cols = torch.where(flipped, cols.flip(1), cols)
    source = (rows[:, :, None] * W + cols[:, None, :]).view(B, 1, H * W).to(images.device)
    return images.flatten(2).gather(2, source.expand(B, C, H * W)).view(B, C, H, W)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Indices beyond either edge, mirrored at it without repeating it."""
    return size - 1 - (size - 1 - index.abs()).abs()

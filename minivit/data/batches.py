"""Pure functions on a batch of images: size and channels, patches, statistics.

B or N images, C channels, H × W pixels, p patch_size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.data.memmap import Images, row_chunks


def resize(images: Images, img_size: int, in_chans: int) -> Images:
    """uint8 (N, C, H, W) -> uint8 (N, in_chans, img_size, img_size), antialiased; unchanged if they fit."""
    if images.shape[1:] == (in_chans, img_size, img_size):
        return images
    return torch.cat([resize_chunk(chunk, img_size, in_chans) for chunk in row_chunks(images)])


def resize_chunk(images: Tensor, img_size: int, in_chans: int) -> Tensor:
    """`resize` for images in memory."""
    if images.shape[1] == 3 and in_chans == 1:
        r, g, b = images.to(torch.int32).split(1, dim=1)
        images = ((19595 * r + 38470 * g + 7471 * b + 2**15) >> 16).to(torch.uint8)  # ITU-R 601, as in PIL
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
    for chunk in row_chunks(images):
        for channel, counts in zip(chunk.unbind(1), histogram, strict=True):
            counts += torch.bincount(channel.flatten(), minlength=256)
    share = histogram.cpu().double() / histogram.sum(1, keepdim=True).cpu()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    variance = share @ values**2 - mean**2
    return mean.float().to(images.device), variance.clamp(min=0).sqrt().float().to(images.device)


def copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; from the CPU to a GPU it goes through pinned memory, so that the CPU does not wait."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return torch.empty_like(tensor, pin_memory=True).copy_(tensor).to(device, non_blocking=True)

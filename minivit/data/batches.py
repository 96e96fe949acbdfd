"""Batches of images: functions on one, and where the training loop's come from: the device, memory or disk.

| where the images are | when |
|---|---|
| the device | they fit: on a GPU, into half of the memory that is free there |
| memory | they do not fit into the GPU: batches go through pinned memory |
| disk | a split takes more than `memory_limit()`: batches are gathered from the mapped cache files |

Off the device, a thread gathers the next batch while the loop computes with the current one; results are identical.
B or N images, C channels, H × W pixels, p patch_size."""

from concurrent.futures import Future, ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.data.image_set import Images, ImageSet, MappedImages, memory_limit, row_chunks


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
    pixels, width = images, p
    if images.dtype == torch.uint8 and p % 4 == 0:  # four bytes at a time are copied three times as fast
        pixels, width = images.flatten().view(torch.int32), p // 4
    grid = pixels.reshape(N, C, H // p, p, W // p, width).permute(0, 2, 4, 1, 3, 5)
    return grid.reshape(N, (H // p) * (W // p), C, p, width).view(images.dtype)


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


GPU_SHARE = 0.5  # of the free GPU memory that images may take; activations need the rest


class BatchSource:
    """One split of a data set as batches on `device`.

    `storage_device` is where the images are, and so where indices are best kept; `labels` are always on `device`.
    """

    def __init__(self, image_set: ImageSet, device: torch.device) -> None:
        self.device = device
        self.labels = image_set.labels.to(device)
        self.images = image_set.images
        if isinstance(self.images, Tensor) and _fits_on_device(self.images, device):
            self.images = self.images.to(device)
        self.storage_device = self.images.device
        self._on_disk = isinstance(self.images, MappedImages)
        self._reader = ThreadPoolExecutor(1, "reader") if self._on_disk or self.storage_device != device else None
        self._ahead: tuple[Tensor, Future[Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def get_batch(self, indices: Tensor, next_indices: Tensor | None = None) -> Tensor:
        """The images (B,) of `indices`, uint8 (B, C, H, W), on the device.

        `next_indices` is the tensor of the following call, whose batch is gathered in the meantime.
        """
        if self._reader is None:
            assert isinstance(self.images, Tensor)
            return self.images.index_select(0, indices.to(self.storage_device))  # five times faster than an index
        if self._ahead is not None and self._ahead[0] is indices:
            batch = self._ahead[1].result()
        else:
            batch = self._gather(indices)
        self._ahead = None if next_indices is None else (next_indices, self._reader.submit(self._gather, next_indices))
        return batch.to(self.device, non_blocking=True)

    def get_labels(self, indices: Tensor) -> Tensor:
        """The labels (B,) of `indices`, on the device."""
        return self.labels.index_select(0, copy_to(indices, self.device))

    @property
    def location(self) -> str:
        """Where the images are and why, for the log and `environment.json`."""
        megabytes = f"{self.images.nbytes / 1e6:,.0f} MB"
        if self._on_disk:
            return f"on disk: {megabytes} of images exceed the limit of {memory_limit() / 1e6:,.0f} MB of memory"
        if self.storage_device != self.device:
            return f"in memory: {megabytes} of images exceed half of the free memory of {self.device}"
        return f"on {self.device}: {megabytes} of images"

    def _gather(self, indices: Tensor) -> Tensor:
        indices = indices.cpu()
        pin_memory = self.device.type == "cuda"
        if isinstance(self.images, MappedImages):
            return self.images.gather(self.images.rows[indices], pin_memory)
        batch = torch.empty((len(indices), *self.images.shape[1:]), dtype=torch.uint8, pin_memory=pin_memory)
        return torch.index_select(self.images, 0, indices, out=batch)


def _fits_on_device(images: Tensor, device: torch.device) -> bool:
    """Whether all images may be kept on the device."""
    return device.type != "cuda" or images.nbytes <= GPU_SHARE * torch.cuda.mem_get_info(device)[0]

"""Random changes to whole batches of training images. Pure functions of the batch and a `torch.Generator`.

B images, C channels, H × W pixels, K classes. Randomness comes from the generator alone, which is the CPU's, so that a
seed gives the same changes wherever the images are. A GPU is never waited for.
"""

import math
import random
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.data.batches import copy_to

NUM_OPS = 2  # of RandAugment, one after the other on each image
STRENGTH = 0.3  # of each of its operations, 0..1: magnitude 9 of 30


def augment(images: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """A batch (B, C, H, W), each image changed at random by itself; of any dtype, uint8 for 'rand'.

    'flip' mirrors left and right with probability ½; 'flip-crop' also shifts by up to 12.5% of the side, as does a
    random crop of the image padded with its own reflection; 'rand' continues with RandAugment (1909.13719).
    """
    if how == "none":
        return images
    B, C, H, W = images.shape
    device = images.device
    num_draws = 1 if how == "flip" else 3
    bounds = ((0, 1), (-(H // 8), H // 8), (-(W // 8), W // 8))[:num_draws]
    draws = [torch.randint(low, high + 1, (B, 1), generator=generator) for low, high in bounds]
    flipped, *shifts = copy_to(torch.stack(draws), device)  # (B, 1) each
    rows, cols = torch.arange(H, device=device).expand(B, H), torch.arange(W, device=device).expand(B, W)
    if shifts:
        rows, cols = _reflect(rows + shifts[0], H), _reflect(cols + shifts[1], W)
    cols = torch.where(flipped == 1, cols.flip(1), cols)
    source = (rows[:, :, None] * W + cols[:, None, :]).view(B, 1, H * W)
    changed = images.flatten(2).gather(2, source.expand(B, C, H * W)).view(B, C, H, W)
    return rand_augment(changed, generator) if how == "rand" else changed


def rand_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """RandAugment (1909.13719) of uint8 (B, C, H, W): two random operations an image, each in a random direction.

    The operations are torchvision's; all images of a batch that drew the same one are changed together.
    """
    operations = _operations(images.shape[-1])
    for _ in range(NUM_OPS):
        choices = torch.randint(len(operations), (len(images),), generator=generator)
        counts = torch.bincount(choices, minlength=len(operations)).tolist()
        order = copy_to(torch.argsort(choices, stable=True), images.device)
        parts = zip(operations, images[order].split(counts), strict=True)
        changed = torch.cat([operation(part) if len(part) else part for operation, part in parts])
        images = torch.empty_like(changed).index_copy_(0, order, changed)
    return images


def mix_pairs(
    images: Tensor, target: Tensor, num_classes: int, *, mixup: float, cutmix: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each image mixed with another of its batch: float 0..1 (B, C, H, W) and target shares (B, K), of labels (B,).

    Mixup (1710.09412) averages two images; CutMix (1905.04899) pastes a rectangle of one into the other. `mixup` and
    `cutmix` are the α of the Beta distribution that the share is drawn from, 0 for never; with both, each batch uses
    one of them at random.
    """
    shares = F.one_hot(target, num_classes).to(images.dtype)
    chance = random.Random(int(torch.randint(2**31, (), generator=generator)))
    cut = bool(cutmix) and (not mixup or chance.random() < 0.5)
    alpha = cutmix if cut else mixup
    if not alpha:
        return images, shares
    share = chance.betavariate(alpha, alpha)  # of the image itself
    if cut:
        H, W = images.shape[2:]
        rows, cols = _rectangle(chance, 1 - share, H, W)
        images = images.clone()
        images[:, :, rows, cols] = images.flip(0)[:, :, rows, cols]
        share = 1 - (rows.stop - rows.start) * (cols.stop - cols.start) / (H * W)
    else:
        images = share * images + (1 - share) * images.flip(0)
    return images, share * shares + (1 - share) * shares.flip(0)


def _rectangle(chance: random.Random, area: float, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a rectangle of about this share of the image, cut off at its edges."""

    def span(size: int) -> slice:
        middle = chance.randrange(size)
        half = round(size * math.sqrt(area) / 2)
        return slice(max(0, middle - half), min(size, middle + half))

    return span(height), span(width)


@cache
def _affine_source(size: int, angle: float = 0, right: float = 0, down: float = 0, **shear: float) -> Tensor:
    """The pixel that an affine operation puts at each place of an image of `size` px, (H·W,); H·W where it has none."""
    from torchvision.transforms.v2 import functional as V

    num_pixels = size * size
    image = torch.arange(float(num_pixels)).view(1, size, size)
    shears = [shear.get("shear_x", 0.0), shear.get("shear_y", 0.0)]
    moved = V.affine(image, angle, [round(right), round(down)], 1.0, shears, fill=[float(num_pixels)])
    return moved.flatten().long()


def _take_pixels(images: Tensor, source: Tensor) -> Tensor:
    """The images (B, C, H, W) with the pixels that `source` (H·W,) names, gray where there is none."""
    gray = F.pad(images.flatten(2), (0, 1), value=128)
    return gray.index_select(2, copy_to(source, images.device)).view_as(images)


@cache
def _operations(size: int) -> list[Callable[[Tensor], Tensor]]:
    """RandAugment's operations for images of `size` px, those that have a direction once for each."""
    from torchvision.transforms.v2 import functional as V  # takes two seconds to import

    def affine(**how: float) -> Callable[[Tensor], Tensor]:
        return partial(_take_pixels, source=_affine_source(size, **how))

    shear = math.degrees(0.3 * STRENGTH)
    move = 0.45 * STRENGTH * size
    turn = 30 * STRENGTH
    operations: list[Callable[[Tensor], Tensor]] = [
        lambda images: images,
        V.autocontrast,
        V.equalize,
        lambda images: V.posterize(images, 8 - round(4 * STRENGTH)),
        lambda images: V.solarize(images, 255 * (1 - STRENGTH)),
    ]
    for way in (1, -1):
        operations += [affine(shear_x=way * shear), affine(shear_y=way * shear), affine(angle=way * turn)]
        operations += [affine(right=way * move), affine(down=way * move)]
        factor = 1 + 0.9 * way * STRENGTH
        operations += [
            partial(V.adjust_brightness, brightness_factor=factor),
            partial(V.adjust_saturation, saturation_factor=factor),
            partial(V.adjust_contrast, contrast_factor=factor),
            partial(_adjust_sharpness, factor=factor),
        ]
    return operations


def _adjust_sharpness(images: Tensor, factor: float) -> Tensor:
    """As torchvision's, which makes the CPU wait for the GPU."""
    changed = images.float()
    inner = changed[:, :, 1:-1, 1:-1]
    blurred = ((9 * F.avg_pool2d(changed, 3, stride=1) + 4 * inner) / 13).round()
    inner.add_(blurred - inner, alpha=1 - factor)
    return changed.clamp(0, 255).to(torch.uint8)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Indices beyond either edge, mirrored at it without repeating it."""
    return size - 1 - (size - 1 - index.abs()).abs()

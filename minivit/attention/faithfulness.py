"""Whether a map says what mattered to the model: patches taken away, known answers, right answers and mistakes.

B images, N tokens (CLS and P = N − 1 patches), K classes, R random orders. A map (B, P) is as `minivit.attention`
has it. Patches are really dropped: their tokens are taken out after the embedding, CLS stays. In a model whose patches
see their neighbours before that (a convolutional stem), a dropped patch leaves its traces in the others.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.attention.maps import class_score, to_model
from minivit.errors import DataError
from minivit.fused import forward_cls
from minivit.inference import eval_mode, logits
from minivit.model import MiniViT, keep_patches
from minivit.stats import wilcoxon_p

Fill = Literal["mean", "drop"]
Curve = Literal["deletion", "insertion"]

SURE = 0.05  # a difference from random orders counts below this p
TOO_CLOSE = (0.01, 0.1)  # between these one image tells nothing: another set of random orders may say otherwise


# Patches taken away


def occlusion(
    model: MiniViT, images: Tensor, classes: Tensor, how: Fill = "mean", against: Tensor | None = None
) -> Tensor:
    """How much a class's logit falls when a patch is gone, f_c(x) − f_c(x without patch j), signed, (B, P).

    'mean' fills the patch with the image's mean colour (Zeiler & Fergus, 1311.2901), 'drop' takes its token out
    (2204.08945). With `against` f_c is the difference of the two logits. A logit, not a probability: it is what
    `attention.relevance` explains too, and does not saturate where the model is sure.
    """
    images = to_model(model, images)
    chosen = torch.stack([classes] if against is None else [classes, against]).to(images.device)
    P = model.config.num_patches
    place = torch.arange(P, device=images.device)
    square = place.view(1, 1, model.config.grid, -1).float()
    pixels = F.interpolate(square, scale_factor=model.config.patch_size)[0].long()  # patch of each pixel, (1, H, W)
    mean = images.mean((2, 3), keepdim=True)

    def without(rows: Tensor) -> Tensor:
        """Logits with one patch gone; a row is image · P + patch."""
        image, patch = rows // P, rows % P
        if how == "mean":
            gone = (pixels == patch.view(-1, 1, 1))[:, None]
            return logits(model, torch.where(gone, mean[image], images[image]))
        keep = place[:-1] + (place[:-1] >= patch[:, None])  # all but one, in order
        return forward_cls(model, model.embed(images[image], keep))[0]

    def score(values: Tensor, image: Tensor) -> Tensor:
        return class_score(values, *chosen[:, image])

    with eval_mode(model):
        every = torch.arange(len(images), device=images.device)
        whole = torch.cat([score(logits(model, images[some]), some) for some in _chunks(every, model)])
        rows = torch.arange(len(images) * P, device=images.device)
        less = torch.cat([score(without(some), some // P) for some in _chunks(rows, model)])
    return whole[:, None] - less.view(-1, P)


def deletion(model: MiniViT, images: Tensor, classes: Tensor, maps: Tensor, against: Tensor | None = None) -> Tensor:
    """p_c with the 0, 1, 2 … P highest patches of a map dropped, (B, N): a good map makes it fall soon.

    RISE (1806.07421). Patches of equal value go row by row. With `against` (B,), the class d that a map sets c against,
    it is p_c / (p_c + p_d): what `occlusion` and `attention.relevance` explain then, f_c − f_d, as a probability.
    """
    return _follow(model, images, classes, _order(maps), torch.arange(len(images)), against)


def insertion(model: MiniViT, images: Tensor, classes: Tensor, maps: Tensor, against: Tensor | None = None) -> Tensor:
    """The same with only the 0, 1, 2 … P highest patches of a map kept, (B, N): a good map makes it rise soon."""
    # What is there after t patches came is what is left when the others went, the lowest first.
    return _follow(model, images, classes, _order(maps).flip(1), torch.arange(len(images)), against).flip(1)


def area(curves: Tensor) -> Tensor:
    """Area under a curve of n equal steps by the trapezoid rule, (B, n + 1) -> (B,): (Σs − s₀/2 − s_n/2) / n."""
    return torch.trapezoid(curves, dim=-1) / (curves.shape[-1] - 1)


def random_areas(
    model: MiniViT, images: Tensor, classes: Tensor, num_orders: int, generator: torch.Generator
) -> Tensor:
    """Areas of `num_orders` random orders of the patches, (B, R); the yardstick for deletion and insertion alike.

    One set serves both: a random order backwards is a random order.
    """
    image = torch.arange(len(images)).repeat_interleave(num_orders)
    orders = torch.rand(len(image), model.config.num_patches, generator=generator).argsort(1)
    return area(_follow(model, images, classes, orders, image)).view(-1, num_orders)


def _order(maps: Tensor) -> Tensor:
    return maps.argsort(dim=1, descending=True, stable=True)


def _follow(
    model: MiniViT, images: Tensor, classes: Tensor, orders: Tensor, image: Tensor, against: Tensor | None = None
) -> Tensor:
    """p_c of the images numbered `image` (R,) as their patches are dropped in the order of `orders` (R, P): (R, N)."""
    images, device = to_model(model, images), model.mean.device
    orders, image = orders.to(device), image.to(device)
    chosen = torch.stack([classes] if against is None else [classes, against]).to(device)

    def probability(logits: Tensor, rows: Tensor) -> Tensor:
        asked = chosen[:, image[rows]]
        return logits.softmax(1).gather(1, asked.T)[:, 0] if against is None else class_score(logits, *asked).sigmoid()

    def curves(rows: Tensor) -> Tensor:
        tokens = model.embed(images[image[rows]])
        steps = (keep_patches(tokens, orders[rows, gone:]) for gone in range(orders.shape[1] + 1))
        return torch.stack([probability(forward_cls(model, left)[0], rows) for left in steps], dim=1)

    with eval_mode(model):
        return torch.cat([curves(rows) for rows in _chunks(torch.arange(len(orders), device=device), model)])


def _chunks(rows: Tensor, model: MiniViT) -> Iterator[Tensor]:
    """Rows in parts whose attention and tokens fit a processor's cache, or a share of a GPU's memory."""
    config = model.config
    N = config.num_patches + 1
    numbers = config.num_heads * N * N + N * config.embed_dim * (4 + config.mlp_ratio) + config.img_size**2
    room = 2**22 if rows.device.type == "cpu" else 2**27
    return iter(rows.split(max(1, int(room / numbers))))


# The verdict


@dataclass(frozen=True)
class Verdict:
    """A map's deletion or insertion area against random orders, averaged over the images."""

    curve: Curve
    area: float
    random_mean: float
    random_sd: float  # of the average area from one random order to the next
    p: float  # two-sided
    num_images: int

    @property
    def words(self) -> str:
        """'better than random', 'no better than random' or 'worse than random'; of one image or 'too close to call'."""
        if self.num_images == 1 and TOO_CLOSE[0] < self.p < TOO_CLOSE[1]:
            return "too close to call"
        if not self.p < SURE:
            return "no better than random"
        lower = self.area < self.random_mean
        return "better than random" if lower == (self.curve == "deletion") else "worse than random"

    def __str__(self) -> str:
        how = f"paired over {self.num_images} images" if self.num_images > 1 else "one image"
        random = f"{self.random_mean:.3f} ± {self.random_sd:.3f}"
        return f"{self.curve} area {self.area:.3f}, random orders {random}: {self.words} ({how}, p = {self.p:.2g})"


def verdict(areas: Tensor, random: Tensor, curve: Curve) -> Verdict:
    """Whether a map's areas (B,) beat those of random orders (B, R > 1) of the same images.

    For a set of images the Wilcoxon signed-rank test of each image's area against its own mean of random orders; for
    one image how many deviations lie between. Low areas are good for deletion, high ones for insertion.
    """
    areas, random = areas.detach().double().cpu(), random.detach().double().cpu()
    mean, sd = float(random.mean()), float(random.mean(0).std())
    if len(areas) == 1:
        distance = abs(float(areas) - mean)
        p = math.erfc(distance / sd / math.sqrt(2)) if sd else float(distance == 0)
    else:
        p = wilcoxon_p(areas - random.mean(1))
    return Verdict(curve, float(areas.mean()), mean, sd, p, len(areas))


# Known answers


def object_shares(masks: Tensor, patch_size: int) -> Tensor:
    """How much of each patch the object covers, bool (B, H, W) -> (B, P) in 0..1."""
    return F.avg_pool2d(masks[:, None].float(), patch_size).flatten(1)


def mass_inside(maps: Tensor, masks: Tensor, patch_size: int) -> Tensor:
    """The share of a map's mass that lies on the object, (B,), by `masks`, bool (B, H, W).

    A patch's mass is spread evenly over its pixels. Of a signed map only what is above 0 counts; a map without any
    has no mass inside.
    """
    mass = maps.clamp(min=0)
    inside = (mass * object_shares(masks, patch_size).to(maps)).sum(-1)
    return inside / mass.sum(-1).clamp(min=torch.finfo(maps.dtype).tiny)


def uniform_mass(masks: Tensor) -> Tensor:
    """What `mass_inside` is for a uniform map: the object's share of the image, (B, H, W) -> (B,)."""
    return masks.float().mean((1, 2))


def pointing(maps: Tensor, masks: Tensor, patch_size: int) -> Tensor:
    """Whether a map's highest patch touches the object, bool (B,): the pointing game (1608.00507)."""
    highest = maps.argmax(1, keepdim=True)
    return object_shares(masks, patch_size).to(maps.device).gather(1, highest)[:, 0] > 0


def uniform_pointing(masks: Tensor, patch_size: int) -> Tensor:
    """How often a patch drawn at random touches the object, (B,)."""
    return (object_shares(masks, patch_size) > 0).float().mean(1)


# Where in the picture, and when wrong


class RingMass(NamedTuple):
    """Shares of a map's mass, (B,) each, and what they are for a uniform map."""

    ring: Tensor  # the outermost patches
    middle: Tensor  # the middle half of rows and columns
    uniform_ring: float
    uniform_middle: float


def ring_mass(maps: Tensor) -> RingMass:
    """How much of a map (B, P) lies on the outer ring of patches and in the middle; only what is above 0 counts."""
    grid = math.isqrt(maps.shape[-1])
    edge = torch.arange(grid, device=maps.device)
    edge = torch.minimum(edge, edge.flip(0))  # patches between here and the border
    depth = torch.minimum(edge[:, None], edge).flatten()
    ring, middle = (depth == 0).to(maps), (depth >= grid // 4).to(maps)
    mass = maps.clamp(min=0)
    mass = mass / mass.sum(-1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    return RingMass(mass @ ring, mass @ middle, float(ring.mean()), float(middle.mean()))


def mistakes_minus_right(maps: Tensor, labels: Tensor, predicted: Tensor, true: int, mistaken: int) -> Tensor:
    """For a cell of the confusion matrix: mean map of its images − mean map of those called rightly, signed (P,).

    Maps (B, P), labels and predicted classes (B,). The cell is the images of class `true` that are called
    `mistaken`; right are those of class `true` that are called so. DataError where either has no image.
    """

    def mean(of: int, what: str) -> Tensor:
        chosen = (labels == true) & (predicted == of)
        if not chosen.any():
            raise DataError(f"There is no image {what} in this cell. Choose another cell or epoch.")
        return maps[chosen.to(maps.device)].mean(0)

    return mean(mistaken, "that was mistaken") - mean(true, "to compare with that was called rightly")


def mistakes_scale(maps: Tensor, labels: Tensor, predicted: Tensor, fewest: int) -> float:
    """The largest size in `mistakes_minus_right` over all cells, so that they share one scale; 0 where there is none.

    Cells of fewer than `fewest` mistakes, whose means are noisy, count only where no cell has so many.
    """
    known = labels >= 0  # others lie in no class of the model
    cells, row, size = torch.stack([labels, predicted])[:, known].unique(dim=1, return_inverse=True, return_counts=True)
    means = torch.zeros(len(size), maps.shape[1]).index_add_(0, row, maps[known.to(maps.device)].float().cpu())
    means /= size[:, None]
    right = {int(true): mean for (true, said), mean in zip(cells.T.tolist(), means, strict=True) if true == said}
    sizes = [
        (int(count), float((mean - right[true]).abs().max()))
        for (true, said), mean, count in zip(cells.T.tolist(), means, size, strict=True)
        if true != said and true in right
    ]
    large = [most for count, most in sizes if count >= fewest]
    return max(large or [most for _, most in sizes], default=0.0)

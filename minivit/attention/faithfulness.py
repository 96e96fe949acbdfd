"""Faithfulness of maps: does the probability of a class follow when patches are removed in a map's order?

B images, N tokens (CLS and P = N − 1 patches), K classes, R random rankings. A map (B, P) is as `METHODS` computes
it. Patches are removed by dropping their tokens after the embedding; CLS stays. If patches see their neighbours before
that (a convolutional stem), traces of a dropped patch remain in the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from minivit.attention.gradients import class_score
from minivit.attention.maps import to_model
from minivit.attention.methods import METHODS
from minivit.attention.occlusion import chunks
from minivit.fused import forward_cls
from minivit.inference import eval_mode
from minivit.model import MiniViT, keep_patches
from minivit.stats import rank_correlation, wilcoxon_p

Curve = Literal["deletion", "insertion"]

REFERENCE = "leave_one_out"  # the method whose ranking others are correlated with
ALPHA = 0.05  # a difference from random rankings is significant below this p
TOO_CLOSE = (0.01, 0.1)  # for one image, between these p, other random rankings may change the verdict


def deletion(model: MiniViT, images: Tensor, classes: Tensor, maps: Tensor, contrast: Tensor | None = None) -> Tensor:
    """p_c with the 0, 1, 2 … P highest patches of a map dropped, (B, N): with a faithful map it falls early.

    RISE (1806.07421). Ties are dropped row by row. With `contrast` (B,), classes d, it is p_c / (p_c + p_d): the
    probability that belongs to f_c − f_d, which `occlusion` and `relevance` explain then.
    """
    return _follow(model, images, classes, _ranking(maps), contrast)


def insertion(model: MiniViT, images: Tensor, classes: Tensor, maps: Tensor, contrast: Tensor | None = None) -> Tensor:
    """p_c with only the 0, 1, 2 … P highest patches of a map kept, (B, N): with a faithful map it rises early."""
    # The first t patches inserted are those that remain if the others are dropped, lowest first.
    return _follow(model, images, classes, _ranking(maps).flip(1), contrast).flip(1)


def area(curves: Tensor) -> Tensor:
    """Area under curves of n equal steps by the trapezoid rule, (…, n + 1) -> (…): (Σs − s₀/2 − s_n/2) / n."""
    return torch.trapezoid(curves, dim=-1) / (curves.shape[-1] - 1)


def random_baseline(
    model: MiniViT, images: Tensor, classes: Tensor, rankings: Tensor, contrast: Tensor | None = None
) -> Tensor:
    """Deletion curves (B, R, N) of random maps `rankings` (B, R, P).

    They serve insertion too: a random ranking reversed is a random ranking.
    """
    B, R, _ = rankings.shape
    index = torch.arange(B).repeat_interleave(R)
    return _follow(model, images, classes, _ranking(rankings.flatten(0, 1)), contrast, index).view(B, R, -1)


def _ranking(maps: Tensor) -> Tensor:
    return maps.argsort(dim=1, descending=True, stable=True)


def _follow(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    rankings: Tensor,
    contrast: Tensor | None,
    index: Tensor | None = None,
) -> Tensor:
    """p_c as patches are dropped in the order of `rankings` (R, P), of the images `index` (R,): (R, N)."""
    images, device = to_model(model, images), model.mean.device
    index = torch.arange(len(images)) if index is None else index
    rankings, index = rankings.to(device), index.to(device)
    targets = torch.stack([classes] if contrast is None else [classes, contrast]).to(device)

    def probability(logits: Tensor, rows: Tensor) -> Tensor:
        target = targets[:, index[rows]]
        if contrast is None:
            return logits.softmax(1).gather(1, target.T)[:, 0]
        return class_score(logits, *target).sigmoid()

    def curves(rows: Tensor) -> Tensor:
        tokens = model.embed(images[index[rows]])
        steps = (keep_patches(tokens, rankings[rows, dropped:]) for dropped in range(rankings.shape[1] + 1))
        return torch.stack([probability(forward_cls(model, kept)[0], rows) for kept in steps], dim=1)

    with eval_mode(model):
        return torch.cat([curves(rows) for rows in chunks(torch.arange(len(rankings), device=device), model)])


@dataclass(frozen=True)
class Verdict:
    """A map's deletion or insertion area against random rankings, mean over the images."""

    curve: Curve
    area: float
    random_mean: float
    random_sd: float  # of the mean area, from one random ranking to the next
    p: float  # two-sided
    num_images: int

    @property
    def words(self) -> str:
        """The verdict: better, no better or worse than random; for one image also too close to call."""
        if self.num_images == 1 and TOO_CLOSE[0] < self.p < TOO_CLOSE[1]:
            return "too close to call"
        if not self.p < ALPHA:
            return "no better than random"
        is_lower = self.area < self.random_mean
        return "better than random" if is_lower == (self.curve == "deletion") else "worse than random"

    def __str__(self) -> str:
        sample = f"paired over {self.num_images} images" if self.num_images > 1 else "one image"
        random = f"{self.random_mean:.3f} ± {self.random_sd:.3f}"
        return f"{self.curve} area {self.area:.3f}, random rankings {random}: {self.words} ({sample}, p = {self.p:.2g})"


def verdict(areas: Tensor, random: Tensor, curve: Curve) -> Verdict:
    """The verdict on a map's areas (B,) against those of random rankings (B, R > 1) of the same images.

    Several images: Wilcoxon's signed-rank test of each image's area against the mean of its own random rankings. One
    image: the distance in standard deviations. Low areas are good for deletion, high ones for insertion.
    """
    areas, random = areas.detach().double().cpu(), random.detach().double().cpu()
    mean, sd = float(random.mean()), float(random.mean(0).std())
    if len(areas) == 1:
        distance = abs(float(areas) - mean)
        p = math.erfc(distance / sd / math.sqrt(2)) if sd else float(distance == 0)
    else:
        p = wilcoxon_p(areas - random.mean(1))
    return Verdict(curve, float(areas.mean()), mean, sd, p, len(areas))


@dataclass(frozen=True)
class Faithfulness:
    """Probabilities as patches are removed: of B images in a map's order, and in R random rankings."""

    deletion: Tensor  # (B, N)
    insertion: Tensor  # (B, N)
    random: Tensor  # (B, R, N), deletion curves
    rank_correlation: Tensor  # (B,), Spearman's with the leave-one-out map

    @classmethod
    def concat(cls, parts: Sequence["Faithfulness"]) -> "Faithfulness":
        """Of all images of several parts."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        """On deletion and on insertion."""
        random = area(self.random)
        return (
            verdict(area(self.deletion), random, "deletion"),
            verdict(area(self.insertion), random, "insertion"),
        )

    @property
    def mean_correlation(self) -> float:
        """The mean rank correlation, without images whose map is constant."""
        return self.rank_correlation.nanmean().item()


def faithfulness(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    maps: Tensor,
    random: Tensor,
    contrast: Tensor | None = None,
    reference: Tensor | None = None,
) -> Faithfulness:
    """The faithfulness of maps (B, P) of images; `random` is their `random_baseline`.

    `reference` are the leave-one-out maps, computed here if they are not given.
    """
    if reference is None:
        reference = METHODS[REFERENCE].attribute(model, images, classes, contrast=contrast)
    return Faithfulness(
        deletion(model, images, classes, maps, contrast),
        insertion(model, images, classes, maps, contrast),
        random,
        rank_correlation(maps, reference),
    )


def summary(deletion: Verdict, insertion: Verdict) -> str:
    """Both verdicts as one sentence."""
    words, is_one_image = {deletion.words, insertion.words}, deletion.num_images == 1
    scope = "on this image " if is_one_image else ""
    if words == {"better than random"}:
        return f"Better than random in both tests: this map shows patches that {scope}matter to the model."
    if words == {"worse than random"}:
        return f"Worse than random in both tests: patches that this map ranks low {scope}matter more to the model."
    if "better than random" not in words:
        if is_one_image:
            return "One image is not enough to tell this map from a random ranking. Check more images."
        return "No better than random: this ranking of the patches does not show what matters to the model."
    better, other = (deletion, insertion) if deletion.words == "better than random" else (insertion, deletion)
    mixed = f"Mixed result: {better.curve} is better than random, {other.curve} {other.words}."
    return f"{mixed} Check more images." if is_one_image else mixed

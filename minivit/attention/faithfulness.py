"""Faithfulness of maps: how does the probability of a class change as patches are removed in a map's order?

B images, N tokens (CLS and P = N − 1 patches), K classes, R random rankings. A map (B, P) is as `METHODS` computes
it. Patches are removed by dropping their tokens after the embedding; CLS stays. With a convolutional stem,
patches see their neighbors before that, so traces of a dropped patch remain in the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minivit.attention.attribution import class_score, memory_bounded_chunks
from minivit.attention.localization import control_maps
from minivit.attention.maps import to_model
from minivit.attention.methods import METHODS
from minivit.attention.verdicts import Verdict, verdict
from minivit.config import ViTConfig
from minivit.fused import forward_cls
from minivit.inference import eval_mode, multiplications
from minivit.layers import keep_patches
from minivit.model import MiniViT
from minivit.stats import rank_correlation

REFERENCE = "leave_one_out"  # the method with whose ranking the others are correlated
CountCurves = Callable[[int], None]  # called with the number of curves that are computed next

NUM_OTHERS = 8  # other images whose maps serve as a control
NUM_CONTROLS = 3  # `control_maps`
NUM_GROUPS = 10  # of patches, for SaCo, or the nearest number of groups of the same size
TIES_SEED = 2_147_483_647  # different from any seed of random rankings


def deletion(model: MiniViT, images: Tensor, classes: Tensor, maps: Tensor, contrast: Tensor | None = None) -> Tensor:
    """p_c with the 0, 1, 2 … P highest patches of a map dropped, (B, N): a faithful map makes it fall early.

    RISE (1806.07421). Ties are dropped in random order. With `contrast` (B,), classes d, it is p_c / (p_c + p_d): the
    probability for f_c − f_d, which `occlusion` and `relevance` explain then.
    """
    return _probabilities(model, images, classes, _steps(_ranking(maps)), contrast)


def insertion(model: MiniViT, images: Tensor, classes: Tensor, maps: Tensor, contrast: Tensor | None = None) -> Tensor:
    """p_c with only the 0, 1, 2 … P highest patches of a map kept, (B, N): a faithful map makes it rise early."""
    # The first t patches inserted are those that remain if the others are dropped, lowest first.
    return _probabilities(model, images, classes, _steps(_ranking(maps).flip(1)), contrast).flip(1)


def area(curves: Tensor) -> Tensor:
    """Area under curves of n equal steps by the trapezoid rule, (…, n + 1) -> (…): (Σs − s₀/2 − s_n/2) / n."""
    return torch.trapezoid(curves, dim=-1) / (curves.shape[-1] - 1)


def random_baseline(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    rankings: Tensor,
    contrast: Tensor | None = None,
    count: CountCurves = lambda num_curves: None,
) -> Tensor:
    """Deletion curves (B, R, N) of random maps `rankings` (B, R, P).

    They are also insertion curves, reversed: a random ranking reversed is a random ranking.
    """
    B, R, _ = rankings.shape
    index = torch.arange(B).repeat_interleave(R)
    kept = _steps(_ranking(rankings.flatten(0, 1)))
    return _probabilities(model, images, classes, kept, contrast, index, count).view(B, R, -1)


def _ranking(maps: Tensor) -> Tensor:
    """The patches of maps (R, P), highest first; ties in an order that is random and differs from row to row."""
    generator = torch.Generator().manual_seed(TIES_SEED)
    shuffled = torch.rand(maps.shape, generator=generator).argsort(1).to(maps.device)
    order = maps.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, order)


def _probabilities(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    kept: Sequence[Tensor],
    contrast: Tensor | None,
    index: Tensor | None = None,
    count: CountCurves = lambda num_curves: None,
) -> Tensor:
    """p_c with only some patches kept, for each of G selections (R, n) of the images `index` (R,): (R, G)."""
    images = to_model(model, images)
    P = model.config.num_prefix_tokens
    device = images.device
    index = (torch.arange(len(images)) if index is None else index).to(device)
    targets = torch.stack([classes] if contrast is None else [classes, contrast]).to(device)
    parts = []
    with eval_mode(model):
        for rows in memory_bounded_chunks(torch.arange(len(index), device=device), model):
            count(len(rows))
            tokens = model.embed(images[index[rows]])
            keeps = (keep[rows.to(keep.device)].to(device) for keep in kept)
            logits = (forward_cls(model, keep_patches(tokens, keep, P), keep_idx=keep)[0] for keep in keeps)
            target = targets[:, index[rows]]
            parts.append(torch.stack([_probability(each, target) for each in logits], dim=1))
    return torch.cat(parts)


def _steps(ranking: Tensor) -> list[Tensor]:
    """What is kept of a ranking (R, P) after 0, 1, … P patches are dropped."""
    return [ranking[:, num_dropped:] for num_dropped in range(ranking.shape[1] + 1)]


def saco(model: MiniViT, images: Tensor, classes: Tensor, maps: Tensor, contrast: Tensor | None = None) -> Tensor:
    """Salience-guided faithfulness (2404.01415) of maps (B, P), -1..1: does a higher map mean a larger effect?

    Patches are put into groups of the same size by the map. s_i is the sum of the map in group i and Δ_i the drop in
    probability without it. F = Σ w_ij / Σ |w_ij| over pairs i < j, where w_ij is s_i − s_j if Δ_i ≥ Δ_j, else its
    negative. 0 for a map that is the same everywhere. Here a group's tokens are dropped.
    """
    P = maps.shape[1]
    divisors = [n for n in range(min(2, P), P + 1) if P % n == 0]  # a single group has nothing to be compared with
    ranking = _ranking(maps).cpu()
    groups = ranking.chunk(min(divisors, key=lambda n: abs(n - NUM_GROUPS)), dim=1)
    without_each = [torch.cat([*groups[:index], *groups[index + 1 :]], dim=1) for index in range(len(groups))]
    salience = torch.stack([maps.cpu().double().gather(1, group).sum(1) for group in groups], dim=1)  # (B, G)
    probability = _probabilities(model, images, classes, [ranking, *without_each], contrast).cpu().double()
    effect = probability[:, :1] - probability[:, 1:]
    i, j = torch.triu_indices(len(groups), len(groups), 1)
    weight = salience[:, i] - salience[:, j]
    signed = torch.where(effect[:, i] >= effect[:, j], weight, -weight)
    return signed.sum(1) / weight.abs().sum(1).clamp(min=1e-12)


def _probability(logits: Tensor, targets: Tensor) -> Tensor:
    """p_c (B,) of logits (B, K) for the targets (1, B); p_c / (p_c + p_d) for (2, B)."""
    if len(targets) == 1:
        return logits.softmax(1).gather(1, targets.T)[:, 0]
    return class_score(logits, *targets).sigmoid()


@dataclass(frozen=True)
class Faithfulness:
    """Probabilities of B images as patches are removed: in a map's order, in R random ones, in M other maps'."""

    deletion: Tensor  # (B, N)
    insertion: Tensor  # (B, N)
    random: Tensor  # (B, R, N), deletion curves
    others_deletion: Tensor  # (B, M, N), in the order of the method's maps of other images
    others_insertion: Tensor  # (B, M, N)
    saco: Tensor  # (B,)
    rank_correlation: Tensor  # (B,), Spearman's with the leave-one-out map

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        random = area(self.random)
        has_others = self.others_deletion.shape[1] > 0
        others = [area(curves) if has_others else None for curves in (self.others_deletion, self.others_insertion)]
        return (
            verdict(area(self.deletion), random, others[0], "deletion"),
            verdict(area(self.insertion), random, others[1], "insertion"),
        )

    @property
    def mean_correlation(self) -> float:
        """The mean rank correlation over the images whose map is not constant."""
        return self.rank_correlation.nanmean().item()


def faithfulness(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    maps: Tensor,
    random: Tensor,
    others: Tensor,
    contrast: Tensor | None = None,
    reference: Tensor | None = None,
    count: CountCurves = lambda num_curves: None,
) -> Faithfulness:
    """The faithfulness of maps (B, P) of images; `random` is their `random_baseline`.

    `others` (B, M, P) are maps of M other images for each, such as `maps_of_others`. `reference` are the leave-one-out
    maps, computed here if they are not given.
    """
    if reference is None:
        reference = METHODS[REFERENCE].attribute(model, images, classes, contrast=contrast)
    B, M, _ = others.shape
    index = torch.arange(B).repeat_interleave(M)
    rankings = _ranking(others.flatten(0, 1))
    deletion_curves, insertion_curves = (
        _probabilities(model, images, classes, _steps(order), contrast, index, count)
        for order in (rankings, rankings.flip(1))
    )
    return Faithfulness(
        deletion(model, images, classes, maps, contrast),
        insertion(model, images, classes, maps, contrast),
        random,
        deletion_curves.view(B, M, -1),
        insertion_curves.flip(1).view(B, M, -1),
        saco(model, images, classes, maps, contrast),
        rank_correlation(maps, reference),
    )


def check(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    maps: Tensor,
    others: Tensor,
    num_rankings: int,
    seed: int,
    report: Callable[[float], None],
    contrast: Tensor | None = None,
) -> Faithfulness:
    """`faithfulness` of maps (B, P) with random rankings that are the same for a seed; reports the fraction done."""
    rankings = torch.rand(len(images), num_rankings, maps.shape[1], generator=torch.Generator().manual_seed(seed))
    num_curves = len(images) * (num_rankings + 2 * others.shape[1])
    num_done = 0

    def count(curves: int) -> None:
        nonlocal num_done
        report(num_done / num_curves)
        num_done += curves

    random = random_baseline(model, images, classes, rankings, contrast, count)
    return faithfulness(model, images, classes, maps, random, others, contrast, count=count)


def check_controls(
    model: MiniViT, images: Tensor, classes: Tensor, num_rankings: int, seed: int, report: Callable[[float], None]
) -> dict[str, tuple[Verdict, Verdict]]:
    """Deletion and insertion verdicts of maps that use no model, by name; as in `check`."""
    rankings = torch.rand(
        len(images), num_rankings, model.config.num_patches, generator=torch.Generator().manual_seed(seed)
    )
    random = random_baseline(model, images, classes, rankings)
    maps = control_maps(images, model.config.patch_size)
    verdicts: dict[str, tuple[Verdict, Verdict]] = {}
    for name, values in maps.items():
        report(len(verdicts) / len(maps))
        others = maps_of_others(values)
        verdicts[name] = faithfulness(model, images, classes, values, random, others, reference=values).verdicts
    return verdicts


def num_multiplications(config: ViTConfig, num_images: int, num_rankings: int) -> float:
    """Multiplications of a check and of the controls; on average, half of the patches are kept along a curve."""
    num_curves = num_images * (2 * num_rankings + (1 + NUM_CONTROLS) * (2 * NUM_OTHERS + 2))
    return num_curves * config.num_patches * multiplications(config) / 2


def maps_of_others(maps: Tensor) -> Tensor:
    """For each of B maps (B, P), those of `NUM_OTHERS` other images at equal distances, or fewer, (B, M, P)."""
    B = len(maps)
    steps = sorted({round(B * (index + 1) / (NUM_OTHERS + 1)) for index in range(NUM_OTHERS)} - {0, B})
    return torch.stack([maps.roll(step, 0) for step in steps], dim=1) if steps else maps[:, None][:, :0]

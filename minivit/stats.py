"""Confidence intervals and tests for values that are computed from a sample of images.

`wilson` and `paired_change` avoid scipy.stats, as pages call them and its import takes a second or two. The other
functions import it when they are first called. B images, n patches.
"""

from collections.abc import Sequence
from math import comb, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Z_95 = 1.959963984540054  # 97.5% quantile of the normal distribution


def wilson(correct: float, total: int) -> tuple[float, float]:
    """95% interval of the share correct / total, total > 0: Wilson's score (1927, doi 10.2307/2276774).

    A sum of shares may stand for the count: it varies less than a count with the same mean.
    """
    share = correct / total
    z = Z_95
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_change(gained: int, lost: int, total: int) -> tuple[float, float]:
    """95% interval of a change in accuracy, -1..1: of `total` > 0 images, `gained` became correct, `lost` incorrect.

    Wald's interval for matched pairs with half an image added to each of the four cells: Agresti & Min (2005,
    doi 10.1002/sim.1781). It is much narrower than the difference of two intervals, because the images are the same.
    """
    n, up, down = total + 2, gained + 0.5, lost + 0.5
    middle = (up - down) / n
    half = Z_95 / n * sqrt(up + down - (up - down) ** 2 / n)
    return max(-1.0, middle - half), min(1.0, middle + half)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p that two classifiers are equally accurate (McNemar 1947, doi 10.1007/BF02295996).

    Of the images that only one of them predicts correctly, `gained` and `lost` in number, each is as likely.
    """
    total = gained + lost
    tail = sum(comb(total, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**total)


def bootstrap(values: Tensor, num_resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95% interval of the mean of values (B,): percentiles over resampled images (Efron 1979)."""
    import scipy.stats

    if len(values) == 1:
        return values.item(), values.item()
    sample = values.double().cpu().numpy()
    interval = scipy.stats.bootstrap(
        (sample,), np.mean, n_resamples=num_resamples, batch=100, method="percentile", rng=seed
    ).confidence_interval
    return float(interval.low), float(interval.high)


def paired_t(differences: Tensor) -> tuple[float, float, float]:
    """95% interval of the mean of paired differences (B > 1,), and the two-sided p that it is 0 (Student 1908)."""
    from scipy.stats import ttest_1samp

    if not differences.std():
        mean = float(differences.mean())
        return mean, mean, float(mean == 0)
    result = ttest_1samp(differences.double().cpu().numpy(), 0)
    interval = result.confidence_interval(0.95)
    return float(interval.low), float(interval.high), float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, adjusted to control the family-wise error rate (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def auroc(higher: NDArray[np.floating], lower: NDArray[np.floating]) -> tuple[float, float, float]:
    """Probability that a value of the first group (m,) exceeds one of the second (n,), ties by half; 95% interval.

    DeLong et al. (1988, doi 10.2307/2531595). Groups that are completely separate have the interval of min(m, n)
    images that all are, by Wilson, instead of none.
    """
    wins = (higher[:, None] > lower) + (higher[:, None] == lower) / 2
    area = float(wins.mean())
    smaller = min(wins.shape)
    if area in (0.0, 1.0) or smaller < 2:
        return area, *wilson(area * smaller, smaller)
    error = Z_95 * sqrt(wins.mean(1).var(ddof=1) / len(higher) + wins.mean(0).var(ddof=1) / len(lower))
    return area, max(0.0, area - error), min(1.0, area + error)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of two maps, (B, n) each -> (B,), ties averaged; NaN if a map is constant."""
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(torch.stack([a, b]).detach().double().cpu(), axis=-1))
    a, b = ranks - ranks.mean(-1, keepdim=True)
    return ((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).float()

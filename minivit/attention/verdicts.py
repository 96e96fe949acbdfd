"""Verdicts on maps: is a map's area significantly and relevantly better than that of its controls?

A map is compared with random rankings of the patches, and with the same method's maps of other images: a ranking that
fits all images explains none of them. A verdict needs both comparisons. B images, R controls of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from minivit.stats import holm, paired_t

Curve = Literal["deletion", "insertion"]
Outcome = Literal["better", "worse", "no difference"]

ALPHA = 0.05  # a difference is significant below this p
# Of the area; a smaller difference is "no difference". Random weights too depend on bright or attended patches, by up
# to 0.038 in 30 untrained models of the preset `quick`: `python -m tests.bench.verdicts untrained`
MIN_EFFECT = 0.04


@dataclass(frozen=True)
class Comparison:
    """A map's areas minus those of a control, mean over the images, with a 95% interval and a two-sided p."""

    control: float  # the control's mean area
    difference: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return f"{self.control:.3f} (difference {self.difference:+.3f}, 95% {self.low:+.3f} to {self.high:+.3f})"


def compare(areas: Tensor, controls: Tensor) -> Comparison:
    """Areas (B,) against those of the controls (B, R) of the same images.

    Several images: a paired t interval and test. One image: the interval is that of the area minus the inner 95% of
    its controls, and p the exact share of them that are at least as extreme, so never below 2 / (R + 1).
    """
    areas, controls = areas.detach().double().cpu(), controls.detach().double().cpu()
    mean = controls.mean(1)
    difference = float((areas - mean).mean())
    if len(areas) > 1:
        return Comparison(float(mean.mean()), difference, *paired_t(areas - mean))
    low, high = torch.quantile(controls[0], torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    num_as_far = 1 + min(int((controls <= areas[0]).sum()), int((controls >= areas[0]).sum()))
    p = min(1.0, 2 * num_as_far / (controls.shape[1] + 1))
    return Comparison(float(mean), difference, float(areas) - high, float(areas) - low, p)


@dataclass(frozen=True)
class Verdict:
    """A map's deletion or insertion area against random rankings and against the method's maps of other images."""

    curve: Curve
    area: float  # mean over the images
    random: Comparison
    others: Comparison | None  # None if there is no other image
    num_images: int
    p: float  # two-sided, the larger of both comparisons, as both must hold; corrected if many maps are tested.
    # For one image whose map beats all maps of others, that of the random rankings: so few maps cannot give a low p

    @property
    def outcome(self) -> Outcome:
        """Better or worse by at least `MIN_EFFECT` with p below `ALPHA`, else no difference."""
        gain = -1 if self.curve == "deletion" else 1  # low areas are good for deletion, high ones for insertion
        gains = [gain * comparison.difference for comparison in (self.random, self.others) if comparison]
        if self.p < ALPHA and min(gains) >= MIN_EFFECT:
            return "better"
        return "worse" if self.p < ALPHA and gains[0] <= -MIN_EFFECT else "no difference"

    def __str__(self) -> str:
        sample = f"{self.num_images} images" if self.num_images > 1 else "one image"
        controls = f"random rankings {self.random}"
        if self.others:
            controls += f", maps of other images {self.others}"
        return f"{self.curve} area {self.area:.3f}; {controls}; p = {self.p:.2g} ({sample}): {self.outcome}"


def verdict(areas: Tensor, random: Tensor, others: Tensor | None, curve: Curve) -> Verdict:
    """The verdict on areas (B,), given those of random rankings (B, R) and of maps of other images (B, M)."""
    against_random = compare(areas, random)
    against_others = None if others is None else compare(areas, others)
    gain = -1 if curve == "deletion" else 1
    p = against_random.p
    if against_others and others is not None and gain * against_random.difference > 0:  # worse than random is worse
        beats_all = len(areas) == 1 and bool((gain * (areas[0] - others) > 0).all())
        p = p if beats_all else max(p, against_others.p)
    return Verdict(curve, float(areas.double().mean()), against_random, against_others, len(areas), p)


def corrected(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with p corrected for their number by Holm's method."""
    adjusted = holm([verdict.p for verdict in verdicts])
    return [replace(verdict, p=p) for verdict, p in zip(verdicts, adjusted, strict=True)]


def summary(deletion: Verdict, insertion: Verdict) -> str:
    """Both verdicts as one sentence."""
    outcomes = {deletion.outcome, insertion.outcome}
    is_single = deletion.num_images == 1
    these = "this image does" if is_single else "these images do"
    advice = " Check more images." if is_single else ""
    if outcomes == {"better"}:
        return "Better than its controls in both tests: this map shows patches that the prediction depends on."
    if outcomes == {"no difference"}:
        return f"No difference: {these} not distinguish this map from its controls.{advice}"
    if "better" not in outcomes:
        return f"Worse than random: patches that this map ranks low matter more to the prediction.{advice}"
    better, other = (deletion, insertion) if deletion.outcome == "better" else (insertion, deletion)
    return f"Mixed result: {better.curve} is better than its controls, {other.curve}: {other.outcome}.{advice}"

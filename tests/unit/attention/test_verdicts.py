"""Verdicts: what is better than its controls, what is worse, and what cannot be told."""

import pytest
import scipy.stats
import torch

from minivit.attention.faithfulness import Faithfulness
from minivit.attention.verdicts import Verdict, compare, corrected, summary, verdict


def areas(shift: float, spread: float = 0.02, count: int = 40, seed: int = 0) -> torch.Tensor:
    return 0.5 + shift + spread * torch.randn(count, generator=torch.Generator().manual_seed(seed))


def controls(shift: float = 0.0, count: int = 40, seed: int = 1) -> torch.Tensor:
    return 0.5 + shift + 0.02 * torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def test_several_images_are_compared_by_a_paired_t_test():
    comparison = compare(areas(-0.02), controls())
    theirs = scipy.stats.ttest_1samp((areas(-0.02) - controls().mean(1)).double().numpy(), 0)
    interval = theirs.confidence_interval(0.95)
    assert comparison.p == pytest.approx(theirs.pvalue, rel=1e-4)
    assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert comparison.low < comparison.difference < comparison.high
    assert comparison.control == pytest.approx(0.5, abs=0.01)


def test_one_image_has_its_exact_rank_and_no_smaller_p_than_its_controls_resolve():
    random = torch.arange(1.0, 20)[None] / 20  # 19 controls
    assert compare(torch.tensor([0.0]), random).p == pytest.approx(2 / 20)
    assert compare(torch.tensor([0.12]), random).p == pytest.approx(2 * 3 / 20)
    assert compare(torch.tensor([0.5]), random).p == 1
    many = torch.arange(1.0, 64)[None] / 64
    assert compare(torch.tensor([0.0]), many).p == pytest.approx(2 / 64)


def test_a_verdict_needs_both_controls_and_a_minimum_effect():
    better = verdict(areas(-0.05), controls(), controls(), "deletion")
    assert better.outcome == "better" and better.p == max(better.random.p, better.others.p)
    assert verdict(areas(-0.05), controls(), controls(), "insertion").outcome == "worse"
    assert verdict(areas(-0.05), controls(), controls(-0.05), "deletion").outcome == "no difference"
    small = verdict(areas(-0.035, spread=0.001), controls() * 0.001 + 0.4995, None, "deletion")
    assert small.p < 1e-9 and small.outcome == "no difference"
    assert verdict(areas(0.05), controls(), controls(0.05), "deletion").outcome == "worse"  # than random is enough
    assert verdict(areas(-0.05), controls(), None, "deletion").outcome == "better"  # where there is no other image


@pytest.mark.parametrize(("curve", "best", "worst"), [("deletion", 0.0, 1.0), ("insertion", 1.0, 0.0)])
def test_one_image_is_better_where_its_map_beats_all_random_rankings_and_all_other_maps(curve, best, worst):
    random = controls(count=8).reshape(1, 64)
    others = controls(count=1)
    outcomes = [verdict(torch.tensor([value]), random, others, curve) for value in (best, worst)]
    assert [each.outcome for each in outcomes] == ["better", "worse"]
    assert [each.p for each in outcomes] == pytest.approx([2 / 65] * 2)
    others[0, 3] = best  # one of the other maps is as good
    assert verdict(torch.tensor([best]), random, others, curve).outcome == "no difference"


def test_an_order_that_changes_nothing_is_no_different_from_any_other():
    for count in (1, 8):
        flat = torch.full((count, 5), 0.25)
        for curve in ("deletion", "insertion"):
            assert verdict(flat[:, 0], flat, flat, curve).outcome == "no difference"


def test_areas_that_are_not_numbers_give_no_difference():
    for count in (1, 40):
        result = verdict(areas(torch.nan, count=count), controls(count=count), controls(count=count), "deletion")
        assert result.outcome == "no difference"


def test_many_verdicts_are_corrected_for_their_number():
    single = verdict(areas(-0.05, spread=0.1), controls(), None, "deletion")
    assert single.outcome == "better"
    all_of_them = corrected(
        [single, *(verdict(areas(0, seed=seed), controls(seed=seed + 50), None, "deletion") for seed in range(2, 40))]
    )
    assert all_of_them[0].p == pytest.approx(min(1, single.p * 39))
    assert {each.outcome for each in all_of_them[1:]} == {"no difference"}


def test_the_summary_is_as_plain_as_the_verdicts_allow():
    better, good = (
        verdict(areas(shift), controls(), None, curve) for shift, curve in ((-0.1, "deletion"), (0.1, "insertion"))
    )
    unsure = verdict(areas(0), controls(), None, "insertion")
    assert summary(better, good).startswith("Better than its controls in both tests")
    assert summary(better, unsure) == "Mixed result: deletion is better than its controls, insertion: no difference."
    undecided = verdict(areas(0), controls(), None, "deletion")
    assert summary(undecided, unsure) == "No difference: these images do not distinguish this map from its controls."
    worse = verdict(areas(0.1), controls(), None, "deletion")
    assert summary(worse, unsure).startswith("Worse than random")
    lonely = [verdict(areas(0, count=1), controls(count=1), None, curve) for curve in ("deletion", "insertion")]
    assert summary(*lonely) == (
        "No difference: this image does not distinguish this map from its controls. Check more images."
    )


def test_deletion_is_good_where_it_is_low_and_insertion_where_it_is_high():
    random = torch.rand(10, 8, 5, generator=torch.Generator().manual_seed(0))
    none = torch.zeros(10, 0, 5)
    result = Faithfulness(torch.zeros(10, 5), torch.ones(10, 5), random, none, none, torch.zeros(10), torch.zeros(10))
    assert [(each.curve, each.outcome) for each in result.verdicts] == [("deletion", "better"), ("insertion", "better")]
    assert all(isinstance(each, Verdict) and each.others is None for each in result.verdicts)

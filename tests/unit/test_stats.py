import numpy as np
import pytest
import scipy.stats
import torch
import yardstick
from hypothesis import given
from hypothesis import strategies as st
from yardstick import article

from minivit.stats import auroc, bootstrap, holm, mcnemar, paired_change, paired_t, rank_correlation, wilson


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_is_wilsons(counts):
    correct, total = counts
    low, high = wilson(correct, total)
    assert (low, high) == pytest.approx(article.wilson(correct, total), abs=1e-9)
    assert 0 <= low <= correct / total <= high <= 1 or correct in (0, total)
    assert low < high


def test_the_interval_of_a_known_example():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_the_interval_of_a_paired_change_is_agresti_and_mins():
    cells = np.array([60, 5, 15, 20]) + 0.5  # right twice, gained, lost, wrong twice
    shares = cells / cells.sum()
    change, both = shares[1] - shares[2], shares[1] + shares[2]
    half = 1.959963984540054 * ((both - change**2) / cells.sum()) ** 0.5
    assert paired_change(5, 15, 100) == pytest.approx((change - half, change + half))
    low, high = paired_change(15, 5, 100)
    assert (-high, -low) == pytest.approx(paired_change(5, 15, 100))


def test_the_interval_of_a_paired_change_is_never_a_point_and_never_past_the_possible():
    low, high = paired_change(0, 0, 64)
    assert low < 0 < high and high < 0.1
    assert paired_change(0, 2, 2)[0] == -1


def test_the_interval_of_a_paired_change_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for gained, lost, *_ in rng.multinomial(100, [0.04, 0.1, 0.86], 2000):
        low, high = paired_change(int(gained), int(lost), 100)
        held += low <= 0.04 - 0.1 <= high
    assert 0.93 < held / 2000 < 0.98


def test_the_bootstrap_interval_is_that_of_the_mean():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) + 3
    low, high = bootstrap(values)
    half = 1.96 * values.std().item() / 20
    assert low == pytest.approx(values.mean().item() - half, abs=0.02)
    assert high == pytest.approx(values.mean().item() + half, abs=0.02)


def test_the_bootstrap_interval_is_the_same_each_time_and_a_point_for_one_value():
    values = torch.rand(30, generator=torch.Generator().manual_seed(0))
    assert bootstrap(values) == bootstrap(values) != bootstrap(values, seed=1)
    assert bootstrap(torch.tensor([0.5])) == (0.5, 0.5)


def test_differences_that_are_all_equal_have_an_interval_without_width():
    assert paired_t(torch.zeros(8)) == (0, 0, 1)
    assert paired_t(torch.full((8,), 0.5)) == (0.5, 0.5, 0)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 3), (1, 9), (30, 12), (400, 350)])
def test_mcnemars_test_is_the_exact_binomial_one(gained, lost):
    expected = scipy.stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1
    assert mcnemar(gained, lost) == pytest.approx(expected)


def test_holms_correction_is_that_of_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1] and holm([]) == []


def test_rank_correlation_is_spearmans_with_ties_averaged():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(0, 6, (5, 64), generator=generator).float(), torch.rand(5, 64, generator=generator)
    correlation = rank_correlation(a, b)
    for image in range(5):
        assert correlation[image].item() == pytest.approx(scipy.stats.spearmanr(a[image], b[image]).statistic, abs=1e-5)
        assert correlation[image].item() == pytest.approx(yardstick.spearman(a[image], b[image]), abs=1e-5)
    assert rank_correlation(b, b.exp()).tolist() == pytest.approx([1] * 5)
    assert rank_correlation(torch.ones(1, 4), b[:1, :4]).isnan().all()


def test_the_area_under_the_roc_curve_counts_pairs_and_ties_by_half():
    area, low, high = auroc(np.float32([1, 2, 3]), np.float32([0, 2]))
    assert area == pytest.approx((3 + 1.5) / 6) and 0 <= low < area < high <= 1
    assert auroc(np.arange(50.0) + 50, np.arange(20.0)) == pytest.approx((1, *wilson(20, 20)))


def test_the_interval_of_the_area_covers_the_true_one_in_95_of_100_samples():
    generator, true = np.random.default_rng(0), scipy.stats.norm.cdf(1 / np.sqrt(2))
    draws = [auroc(generator.normal(1, 1, 60), generator.normal(0, 1, 90)) for _ in range(600)]
    assert 0.93 < np.mean([low <= true <= high for _, low, high in draws]) < 0.97

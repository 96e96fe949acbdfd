"""Curves over epochs and over removed patches."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minivit.figures import (
    Axes,
    NamedCurve,
    downsample,
    metric_curves,
    removal_curves,
    share_curves,
    smooth,
    trial_curves,
)

# A busy machine is no mistake.
calm = settings(suppress_health_check=[HealthCheck.too_slow])


# Thinning


def curve(seed: int, length: int, share_of_gaps: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    y = random.normal(size=length).round(1)  # with equal values
    y[random.random(length) < share_of_gaps] = np.nan
    return y


@calm
@given(
    st.builds(curve, st.integers(0, 999), st.integers(0, 300), st.sampled_from([0, 0.3, 0.97, 1])), st.integers(4, 100)
)
def test_thinning_keeps_ends_and_extremes_and_never_passes_the_limit(y, limit):
    x = np.arange(len(y)) * 0.5
    thin_x, thin_y = downsample(x, y, limit)
    assert len(thin_x) == len(thin_y) <= limit or len(y) <= limit
    places = (thin_x * 2).astype(int)
    assert (np.diff(places) > 0).all()
    np.testing.assert_array_equal(y[places], thin_y)  # no point is moved or invented
    if len(y):
        assert places[0] == 0 and places[-1] == len(y) - 1
    if not np.isnan(y).all():
        assert np.nanmin(thin_y) == np.nanmin(y) and np.nanmax(thin_y) == np.nanmax(y)


def test_a_short_curve_is_left_alone():
    x, y = np.arange(1000.0), np.random.default_rng(0).random(1000)
    assert downsample(x, y)[1] is y
    assert len(downsample(np.arange(1001.0), np.append(y, 0.5))[1]) <= 1000


def test_one_peak_and_one_gap_survive_thinning():
    y = np.zeros(100_000)
    y[77_777] = 1
    y[30_000:31_000] = np.nan
    thin_x, thin_y = downsample(np.arange(100_000.0), y, 1000)
    assert thin_x[np.nanargmax(thin_y)] == 77_777
    gap = thin_x[np.isnan(thin_y)]
    assert len(gap) and gap.min() >= 30_000 and gap.max() < 31_000


# Curves


def test_accuracy_of_several_runs_stands_on_one_chart_under_names_that_stay_text():
    name = "a <b>b</b>"
    curves = {name: [NamedCurve(name, [0, 1, 2], [0.25, 0.5, 0.75])], "c": [NamedCurve("c", [0], [0.3])]}
    figure = metric_curves(curves)
    first, second = figure.data
    assert first.name == first.text[0] == "a &lt;b&gt;b&lt;/b&gt;" and list(first.y) == [0.25, 0.5, 0.75, None]
    assert [len(curve.text) for curve in figure.data] == [len(curve.x) for curve in figure.data]  # one at each point
    assert second.mode == "lines+markers"  # a line of one point would not be seen
    assert figure.layout.yaxis.title.text == "test accuracy"


def test_a_star_marks_the_measured_value_of_the_best_epoch_in_the_color_of_its_curve():
    curve = NamedCurve("a", [0, 1, 2], [0.25, 0.75, 0.5], best=1)
    figure = metric_curves({"a": [curve], "b": [curve._replace(best=None)]}, {"a": {"color": "red"}}, smoothing=0.5)
    (star,) = [trace for trace in figure.data if trace.marker.symbol]
    assert (*star.x, *star.y, star.marker.color) == (1, 0.75, "red") and star.showlegend is False


def test_a_smoothed_curve_is_an_average_without_a_bias_to_0_over_the_measured_one():
    y = np.array([np.nan, 4.0, 2.0, np.nan, 6.0])
    expected = [np.nan, 4, (0.25 * 4 + 0.5 * 2) / 0.75, np.nan, (0.125 * 4 + 0.25 * 2 + 0.5 * 6) / 0.875]
    np.testing.assert_allclose(smooth(y, 0.5), expected)
    np.testing.assert_array_equal(smooth(y, 0.0), y)
    axes = Axes(x="images seen", y="test loss", percent=False, log_x=True, log_y=True)
    behind, curve = metric_curves({"a": [NamedCurve("a", [1, 2], [4.0, 2.0])]}, axes=axes, smoothing=0.5).data
    assert list(behind.y) == [4, 2, None] and list(curve.y) == [4, pytest.approx(8 / 3), None]
    assert behind.showlegend is False and behind.opacity < 1


def test_trials_of_one_phase_share_a_line_style_and_the_best_trial_is_bold():
    trials = [("trial 0", "done", {0: 0.2, 1: 0.5}), ("trial 1", "done", {1: 0.6, 0: 0.25}), ("trial 2", "pruned", {})]
    done, best = trial_curves(trials, best="trial 1").data
    assert (done.name, list(done.y)) == ("done", [0.2, 0.5, None])
    assert (best.name, list(best.x), list(best.y)) == ("best: trial 1", [0, 1, None], [0.25, 0.6, None])
    assert best.line.width > done.line.width


# Held against chance


def test_a_removal_curve_is_drawn_over_mean_and_deviation_of_its_own_random_rankings():
    random = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    panels = {
        "dropped\nfirst": (np.arange(5, dtype=np.float32), random),
        "put back": (np.ones(5, np.float32), random[:, ::-1]),
    }
    figure = removal_curves(panels, "probability of <b>", "CLS map")
    assert [annotation.text for annotation in figure.layout.annotations] == ["dropped<br>first", "put back"]
    assert figure.layout.yaxis.title.text == "probability of &lt;b&gt;"
    upper, lower, mean, curve = figure.data[4:]
    np.testing.assert_allclose(mean.y, random[:, ::-1].mean(0), rtol=1e-6)
    np.testing.assert_allclose(upper.y - mean.y, random[:, ::-1].std(0), rtol=1e-5)
    np.testing.assert_allclose(mean.y - lower.y, random[:, ::-1].std(0), rtol=1e-5)
    assert (mean.name, curve.name) == ("6 random rankings, mean ± sd", "CLS map")
    assert curve.y.tolist() == [1] * 5 and figure.data[3].y.tolist() == curve.x.tolist() == [0, 1, 2, 3, 4]
    assert figure.data[4].xaxis == "x2" and figure.data[3].xaxis == "x"


def test_shares_over_epochs_have_their_intervals_and_what_chance_gives():
    shares = {"mass": [(0.2, 0.1, 0.4), (0.8, 0.75, 0.9)], "pointing": [(0.5, 0.4, 0.6), (1, 0.9, 1)]}
    figure = share_curves([0, 7], shares, {"mass": 0.19, "pointing": 0.33}, "CLS map (share)")
    mass, pointing = figure.data
    assert (mass.name, pointing.name) == ("mass", "pointing")
    assert list(mass.x) == [0, 7] and mass.y.tolist() == [0.2, 0.8]
    np.testing.assert_allclose(mass.error_y.array, [0.2, 0.1])
    np.testing.assert_allclose(mass.error_y.arrayminus, [0.1, 0.05])
    assert [line.y0 for line in figure.layout.shapes] == [0.19, 0.33]
    assert [line.line.color for line in figure.layout.shapes] == [mass.line.color, pointing.line.color]

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from minivit.data.image_set import evenly_spaced
from minivit.figures import (
    COLORMAPS,
    SPLIT_COLORS,
    EpochCurve,
    accuracy_curves,
    attention_distance_chart,
    attention_scale,
    colormap,
    downsample,
    filter_images,
    map_grid,
    patch_mosaic,
    removal_curves,
    share_curves,
    similarity_grid,
    term_bars,
    trial_curves,
)
from pages.parts.shell.wording import duration

# A busy machine is no mistake.
calm = settings(suppress_health_check=[HealthCheck.too_slow])

# Colors


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("magma", (0, 0, 4), (252, 253, 191)),  # matplotlib's own ends
        ("viridis", (68, 1, 84), (253, 231, 37)),
        ("jet", (0, 0, 131), (128, 0, 0)),
        ("RdBu", (103, 0, 31), (5, 48, 97)),
    ],
)
def test_a_colormap_runs_from_its_first_to_its_last_color(name, first, last):
    colors = colormap(name)
    assert colors.shape == (256, 3) and colors.dtype == np.uint8
    np.testing.assert_allclose(colors[0].astype(int), first, atol=3)
    np.testing.assert_allclose(colors[-1].astype(int), last, atol=3)
    steps = np.abs(np.diff(colors.astype(int), axis=0)).max()
    assert steps < 12  # no jump in between


def test_every_colormap_has_the_requested_number_of_colors():
    for name in (*COLORMAPS, "RdBu"):
        for steps in (2, 3, 10, 100, 257):
            assert colormap(name, steps).shape == (steps, 3)


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 has it."""
    shares = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#FFFFFF", "#0E1117"])
def test_curves_stand_out_from_light_and_dark_grounds(ground):
    for color in SPLIT_COLORS.values():
        light, dark = sorted((luminance(color) + 0.05, luminance(ground) + 0.05), reverse=True)
        assert light / dark >= 3


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


# The attention scale


def test_nearly_uniform_attention_does_not_fill_the_scale():
    uniform = np.full((3, 64), 1 / 65, np.float32)
    assert attention_scale(uniform, num_tokens=65) == (0.0, pytest.approx(4 / 65))


def test_one_scale_covers_all_maps_but_not_a_single_sharp_patch():
    low, high = np.full((8, 64), 0.01, np.float32), np.full((8, 64), 0.3, np.float32)
    assert attention_scale(np.stack([low, high]), num_tokens=65) == (0.0, pytest.approx(0.3))
    low[0, 0] = 1.0
    assert attention_scale(low, num_tokens=65)[1] == pytest.approx(4 / 65)


def test_a_map_that_is_no_number_does_not_spoil_the_scale():
    assert attention_scale(np.full((2, 16), np.nan, np.float32), num_tokens=17) == (0.0, pytest.approx(4 / 17))


# Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 s"),
        (0.2, "1 s"),
        (40.4, "40 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3599, "59 min 59 s"),
        (3599.7, "1 h"),
        (3600, "1 h"),
        (4200, "1 h 10 min"),
        (7259, "2 h"),
        (360_000, "100 h"),
    ],
)
def test_durations_are_written_as_people_write_them(seconds, words):
    assert duration(seconds) == words


# Pictures


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("grid", "patch_size"), [(1, 8), (3, 4), (16, 2), (28, 1)])
def test_patches_stand_apart_in_their_places_and_nothing_lies_between_them(channels, grid, patch_size):
    shape = (grid**2, channels, patch_size, patch_size)
    patches = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    before = patches.copy()
    picture = patch_mosaic(patches, side=400)
    assert picture.dtype == np.uint8 and picture.shape[0] == picture.shape[1] and picture.shape[2] == 4
    assert 250 <= len(picture) <= 500
    cell = len(picture) // grid
    shown = picture.reshape(grid, cell, grid, cell, 4).transpose(0, 2, 1, 3, 4).reshape(grid**2, cell, cell, 4)
    covered = int((shown[0, :, :, 3] == 255).any(0).sum())
    zoom = covered // patch_size
    assert covered == zoom * patch_size < cell
    for patch, tile in zip(patches, shown, strict=True):
        colors = np.broadcast_to(patch, (3, patch_size, patch_size)).transpose(1, 2, 0)
        np.testing.assert_array_equal(tile[:covered:zoom, :covered:zoom, :3], colors)
        np.testing.assert_array_equal(tile[zoom - 1 : covered : zoom, zoom - 1 : covered : zoom, :3], colors)
        assert not tile[covered:].any() and not tile[:, covered:].any()
    np.testing.assert_array_equal(patches, before)


@calm
@given(st.integers(1, 5000), st.integers(1, 50))
def test_images_are_picked_from_the_whole_part_and_none_twice(num_images, count):
    picked = evenly_spaced(num_images, count)
    assert picked == sorted(set(picked)) and len(picked) == min(num_images, count)
    assert picked[0] == 0 and picked[-1] == (num_images - 1 if count > 1 else 0)


def test_filters_are_gray_at_0_and_full_at_the_largest_of_all():
    weight = np.zeros((2, 3, 4, 4), np.float32)
    weight[0, 0, 0, 0], weight[1, 2, 3, 3], weight[0, 1, 0, 0] = 0.5, -0.5, 0.25
    images = filter_images(weight)
    assert images.shape == weight.shape and images.dtype == np.uint8
    assert (images[0, 0, 0, 0], images[1, 2, 3, 3]) == (255, 0)
    assert images[0, 1, 0, 0] == pytest.approx(191, abs=1)
    assert images[1, 0, 0, 0] in (127, 128)


@calm
@given(npst.arrays(np.float32, (2, 1, 2, 2), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_filters_of_any_size_stay_in_the_range_of_bytes(weight):
    images = filter_images(weight).astype(int)
    largest = np.abs(weight).max()
    expected = 127.5 + 127.5 * weight.astype(float) / max(float(largest), 1e-12)
    np.testing.assert_allclose(images, expected, atol=0.51)


def test_every_patchs_similarity_map_stands_in_the_place_of_the_patch():
    grid = 3
    similarity = np.arange(81, dtype=np.float32).reshape(9, 9) / 81
    (heatmap,) = similarity_grid(similarity).data
    assert isinstance(heatmap, go.Heatmap)
    assert np.shape(heatmap.z) == (11, 11) and (heatmap.zmin, heatmap.zmax) == (-1, 1)
    for patch in range(9):
        top, left = patch // grid * 4, patch % grid * 4
        tile = np.array(heatmap.z)[top : top + 3, left : left + 3]
        np.testing.assert_array_equal(tile, similarity[patch].reshape(3, 3))
    assert np.isnan(np.array(heatmap.z)[3]).all() and np.isnan(np.array(heatmap.z)[:, 7]).all()


def test_the_similarity_grid_reads_from_the_top_and_numbers_patches_from_1():
    layout = similarity_grid(np.eye(4, dtype=np.float32)).layout
    assert layout.yaxis.autorange == "reversed"
    assert list(layout.xaxis.ticktext) == ["1", "2"] and list(layout.xaxis.tickvals) == [0.5, 3.5]
    assert "patch" in layout.xaxis.title.text and "patch" in layout.yaxis.title.text


def test_of_many_patches_every_second_or_third_has_its_similarity_map():
    grid = 33  # a map for rows and columns 1, 4, …, 31
    similarity = np.random.default_rng(0).uniform(-1, 1, (grid**2, grid**2)).astype(np.float32)
    figure = similarity_grid(similarity)
    assert list(figure.layout.yaxis.ticktext) == [str(number) for number in range(1, 34, 3)]
    tile = np.array(figure.data[0].z)[34 : 34 + grid, 68 : 68 + grid]  # the second row of maps, the third column
    np.testing.assert_array_equal(tile, similarity[3 * grid + 6].reshape(grid, grid))


def test_shares_of_terms_are_stacked_a_bar_a_head():
    shares = np.array([[0.5, 0.25, 0.5, -0.25], [1, 0, 0, 0]], np.float32)
    figure = term_bars(shares, ["a", "b", "c", "d"])
    assert figure.layout.barmode == "relative"  # what is below 0 hangs there
    assert [(bar.name, list(bar.x), list(bar.y)) for bar in figure.data] == [
        (name, ["1", "2"], list(values)) for name, values in zip("abcd", shares.T, strict=True)
    ]
    assert len({bar.marker.color for bar in figure.data}) == 4
    assert figure.layout.xaxis.title.text == "head" and "variance" in figure.layout.yaxis.title.text


def test_attention_distance_has_a_dot_per_head_and_a_line_for_uniform_attention():
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    figure = attention_distance_chart(values, uniform=16.5459)
    assert [trace.name for trace in figure.data] == ["head 1", "head 2"]
    assert list(figure.data[1].x) == [1, 2, 3] and list(figure.data[1].y) == [2, 4, 6]
    assert figure.layout.shapes[0].y0 == figure.layout.shapes[0].y1 == 16.5459
    assert "16.5 px" in figure.layout.annotations[0].text
    assert "(px)" in figure.layout.yaxis.title.text


# Curves


def test_accuracy_of_several_runs_stands_on_one_chart_under_names_that_stay_text():
    name = "a <b>b</b>"
    curves = {name: [EpochCurve(name, [0, 1, 2], [0.25, 0.5, 0.75])], "c": [EpochCurve("c", [0], [0.3])]}
    figure = accuracy_curves(curves)
    first, second = figure.data
    assert first.name == first.text[0] == "a &lt;b&gt;b&lt;/b&gt;" and list(first.y) == [0.25, 0.5, 0.75, None]
    assert second.mode == "lines+markers"  # a line of one point would not be seen
    assert figure.layout.yaxis.title.text == "test accuracy"


def test_trials_of_one_phase_share_a_line_style_and_the_best_trial_is_bold():
    trials = [("trial 0", "done", {0: 0.2, 1: 0.5}), ("trial 1", "done", {1: 0.6, 0: 0.25}), ("trial 2", "pruned", {})]
    done, best = trial_curves(trials, best="trial 1").data
    assert (done.name, list(done.y)) == ("done", [0.2, 0.5, None])
    assert (best.name, list(best.x), list(best.y)) == ("best: trial 1", [0, 1, None], [0.25, 0.6, None])
    assert best.line.width > done.line.width


def test_a_grid_of_signed_maps_has_each_in_its_place_on_one_scale_round_0():
    maps = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    (heatmap,) = map_grid(maps, rows=["a", "b"], columns=["c", "d", "e"], title="logit", limit=30).data
    assert (heatmap.zmin, heatmap.zmax) == (-30, 30)
    shown = np.array(heatmap.z)
    assert shown.shape == (5, 8)
    np.testing.assert_array_equal(shown[3:, 6:], maps[1, 2].reshape(2, 2))
    assert np.isnan(shown[2]).all() and np.isnan(shown[:, 5]).all()


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

"""Pictures of patches, filters and similarity."""

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from minivit.data.image_set import evenly_spaced
from minivit.figures import (
    filter_images,
    map_grid,
    patch_mosaic,
    similarity_grid,
)

# Pictures

# A busy machine is no mistake.
calm = settings(suppress_health_check=[HealthCheck.too_slow])


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
    tiles = picture.reshape(grid, cell, grid, cell, 4).transpose(0, 2, 1, 3, 4).reshape(grid**2, cell, cell, 4)
    covered = int((tiles[0, :, :, 3] == 255).any(0).sum())
    zoom = covered // patch_size
    assert covered == zoom * patch_size < cell
    for patch, tile in zip(patches, tiles, strict=True):
        colors = np.broadcast_to(patch, (3, patch_size, patch_size)).transpose(1, 2, 0)
        np.testing.assert_array_equal(tile[:covered:zoom, :covered:zoom, :3], colors)
        np.testing.assert_array_equal(tile[zoom - 1 : covered : zoom, zoom - 1 : covered : zoom, :3], colors)
        assert not tile[covered:].any() and not tile[:, covered:].any()
    np.testing.assert_array_equal(patches, before)


@calm
@given(st.integers(1, 5000), st.integers(1, 50))
def test_images_are_evenly_spaced_over_all_and_none_is_picked_twice(num_images, count):
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


def test_every_patchs_similarity_map_stands_at_the_position_of_the_patch():
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


def test_a_grid_of_signed_maps_has_each_at_its_position_on_one_scale_around_0():
    maps = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    (heatmap,) = map_grid(maps, rows=["a", "b"], columns=["c", "d", "e"], title="logit", limit=30).data
    assert (heatmap.zmin, heatmap.zmax) == (-30, 30)
    drawing = np.array(heatmap.z)
    assert drawing.shape == (5, 8)
    np.testing.assert_array_equal(drawing[3:, 6:], maps[1, 2].reshape(2, 2))
    assert np.isnan(drawing[2]).all() and np.isnan(drawing[:, 5]).all()

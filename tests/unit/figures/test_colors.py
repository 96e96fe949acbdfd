import numpy as np
import pytest

from minivit.figures import (
    COLORMAPS,
    RUN_LINES,
    SPLIT_COLORS,
    attention_scale,
    colormap,
)

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
    for color in (*SPLIT_COLORS.values(), *(line["color"] for line in RUN_LINES)):
        light, dark = sorted((luminance(color) + 0.05, luminance(ground) + 0.05), reverse=True)
        assert light / dark >= 3


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

"""Charts of heads."""

import numpy as np

from minivit.figures import (
    attention_distance_chart,
    term_bars,
)


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

"""Arrays in, Plotly figures and colors out. No files, no torch, no Streamlit.

style    colors of curves, maps and methods; limits of color scales; layout of charts
maps     patch mosaics, grids of small maps, heads, waterfalls
curves   metrics of runs, deletion and insertion, reliability
sweeps   trials across their settings
"""

from minivit.figures.curves import (
    Axes,
    NamedCurve,
    cascade_curves,
    confidence_histogram,
    downsample,
    metric_curves,
    reliability_diagram,
    removal_curves,
    share_curves,
    smooth,
    trial_curves,
)
from minivit.figures.maps import (
    attention_distance_chart,
    filter_images,
    map_grid,
    patch_mosaic,
    similarity_grid,
    sum_bars,
    term_bars,
)
from minivit.figures.style import (
    COLORMAPS,
    GRAY,
    RUN_LINES,
    SPLIT_COLORS,
    attention_scale,
    color_indices,
    colormap,
    scale_limit,
)
from minivit.figures.sweeps import Axis, choice_axis, parallel_coordinates, range_axis

"""BertViz's head view and model view of one image, each as one HTML page that works without a network.

BertViz's own pages are for notebooks and load require.js, jQuery and d3 from the network. Here jQuery and d3 are copied
into the page from installed packages, and a few lines replace require.js.
"""

import importlib.resources
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from minivit.errors import ConfigError
from minivit.export.picture import png_uri, rgb

# Class names and pixels come from outside: whatever they hold, the page reaches no network.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"

# BertViz loads jQuery and d3 through require.js; the page contains both already.
REQUIRE_SHIM = """
window.require = { config() {} };
window.requirejs = (names, run) => run(...names.map((name) => (name === "d3" ? window.d3 : window.jQuery)));
"""


def tokens(num_patches: int) -> list[str]:
    """The names of the tokens, as in the article: [CLS], p0, p1, …"""
    return ["[CLS]", *(f"p{index}" for index in range(num_patches))]


def bertviz_html(
    attn: Sequence[Tensor], layer: int = 0, *, layers: Sequence[int] | None = None, image: Tensor | None = None
) -> str:
    """BertViz's head view of one image's attention, L tensors (H, N, N), as a self-contained HTML page.

    `layers` can be selected in the view (all by default; the others may be empty), `layer` is selected first; both
    count from 0. With `image`, uint8 (C, H, W), the patch of the token under the pointer is shown next to it. Weights
    are rounded to four decimals. Raises ConfigError for a layer that does not exist.
    """
    from bertviz import head_view  # takes two seconds to import

    layers = check_layers(len(attn), layers)
    first = layer if layer in layers else layers[0]
    return _page("BertViz head view", partial(head_view, layer=first), attn, layers, image)


def bertviz_model_html(
    attn: Sequence[Tensor], *, layers: Sequence[int] | None = None, image: Tensor | None = None
) -> str:
    """BertViz's model view, every layer × head as a small picture, as a self-contained HTML page.

    It draws L · H · N² lines: 103,000 for 6 layers of 4 heads over 65 tokens, which takes a browser some time.
    """
    from bertviz import model_view

    layers = check_layers(len(attn), layers)
    return _page("BertViz model view", partial(model_view, display_mode="light"), attn, layers, image)


def check_layers(num_layers: int, layers: Sequence[int] | None) -> list[int]:
    """The selected layers in order, all for None; ConfigError if there is none or one does not exist."""
    indices = sorted(set(range(num_layers) if layers is None else layers))
    if not indices:
        raise ConfigError("No layer is selected. Select at least one.")
    for index in indices:
        if not 0 <= index < num_layers:
            raise ConfigError(f"There is no layer {index + 1}; the model has {num_layers}. Choose 1 to {num_layers}.")
    return indices


def _page(
    title: str, view: Callable[..., Any], attn: Sequence[Tensor], layers: Sequence[int], image: Tensor | None
) -> str:
    """BertViz's page with its `view`, which takes all layers (1, H, N, N) and reads the selected ones only."""
    rounded = [(values.double().round(decimals=4) if layer in layers else values) for layer, values in enumerate(attn)]
    num_patches = attn[layers[0]].shape[-1] - 1
    names = tokens(num_patches)
    html = view([values[None] for values in rounded], names, include_layers=layers, html_action="return").data
    html = re.sub(r'<script src="[^"]*require[^"]*"></script>', "", html, count=1)
    packages = {"xstatic.pkg.jquery": "data/jquery.min.js", "mpld3": "js/d3.v5.min.js"}
    before = [*(_packaged(package, path) for package, path in packages.items()), REQUIRE_SHIM]
    after = []
    if image is not None:  # a script that shows the patch of the token under the pointer
        facts = json.dumps({"image": png_uri(rgb(image.numpy())), "grid": round(num_patches**0.5)})
        after = [f"const PEEK = {facts};", Path(__file__).with_name("peek.js").read_text(encoding="utf-8")]
    scripts, peek = ("".join(f"<script>{code}</script>" for code in codes) for codes in (before, ["\n".join(after)]))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{escape(title)}</title></head>'
        f'<body style="background: white; color: black; margin: 8px">{scripts}{html}{peek}</body></html>'
    )


def _packaged(package: str, path: str) -> str:
    """The text of a file in an installed package, escaped for a script element."""
    text = importlib.resources.files(package).joinpath(path).read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")

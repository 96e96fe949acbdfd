"""Attention to take along: the article's JSON, and BertViz as one HTML file that works without a network."""

import importlib.resources
import json
import re

from torch import Tensor

from minivit.attention import Head, write_head
from minivit.errors import ConfigError

# BertViz asks require.js for jQuery and d3; both stand in the page already.
REQUIRE_SHIM = """
window.require = { config() {} };
window.requirejs = (names, run) => run(...names.map((name) => (name === "d3" ? window.d3 : window.jQuery)));
"""


def tokens(num_patches: int) -> list[str]:
    """The tokens' names, as in the article: [CLS], p0, p1, …"""
    return ["[CLS]", *(f"p{index}" for index in range(num_patches))]


def one_head(attn: Tensor, layer: int, head: Head) -> Tensor:
    """One layer's attention by one head, or the mean or maximum over its heads: (L, H, N, N) -> (N, N).

    Layer and head count from 0. Raises ConfigError where there is no such layer or head.
    """
    num_layers, num_heads = attn.shape[:2]
    if not 0 <= layer < num_layers:
        raise ConfigError(f"There is no layer {layer + 1}; the model has {num_layers}. Choose 1 to {num_layers}.")
    if head == "mean":
        return attn[layer].mean(0)
    if head == "max":
        return attn[layer].amax(0)
    if not isinstance(head, int) or not 0 <= head < num_heads:
        raise ConfigError(f"There is no head {write_head(head)}. Choose 1 to {num_heads}, 'mean' or 'max'.")
    return attn[layer, head]


def article_json(attn: Tensor) -> str:
    """The article's JSON of one attention matrix (N, N): {"tokens": ["[CLS]", "p0", …], "attentions": N × N}."""
    return json.dumps({"tokens": tokens(len(attn) - 1), "attentions": attn.tolist()})


def bertviz_html(attn: Tensor, layer: int = 0) -> str:
    """BertViz's head view of one image's attention (L, H, N, N), as a whole HTML page that loads nothing.

    Weights are rounded to four decimals, finer than its lines can show.
    """
    from bertviz import head_view  # takes two seconds to import

    rounded = [one.double().round(decimals=4)[None] for one in attn]
    view = head_view(rounded, tokens(attn.shape[-1] - 1), layer=layer, html_action="return").data
    view = re.sub(r'<script src="[^"]*require[^"]*"></script>', "", view, count=1)
    jquery = _packaged("xstatic.pkg.jquery", "data/jquery.min.js")
    d3 = _packaged("mpld3", "js/d3.v5.min.js")
    scripts = "".join(f"<script>{code}</script>" for code in (jquery, d3, REQUIRE_SHIM))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>BertViz head view</title></head>'
        f'<body style="background: white; color: black; margin: 8px">{scripts}{view}</body></html>'
    )


def _packaged(package: str, path: str) -> str:
    """Text of a file that an installed package ships, fit to stand inside a script element."""
    text = importlib.resources.files(package).joinpath(path).read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")

"""What makes up a logit of one image: shares of tokens and biases, contributions of heads, and the logit lens."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st
from torch import Tensor

from minivit.attention import logit_shares
from minivit.attention.logit_parts import (
    Contributions,
    direct_contributions,
    logit_lens,
    target_logit,
    why_no_contributions,
)
from minivit.config import ViTConfig
from minivit.figures import scale_limit, sum_bars
from minivit.runs import Run
from pages.parts.attention.selection import MethodSelection, pick_classes
from pages.parts.components.tiles import Row, map_tiles, signed_scale, tiles
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize
from pages.parts.shell.wording import escape_markdown

T = TypeVar("T")


def logit_section(run: Run, epoch: int, image: ImageId, selection: MethodSelection) -> None:
    """The section; nothing is computed until the user turns it on."""
    st.header("What makes up this logit?", anchor=False, help=explain("Logit"))
    st.caption(
        "The shares of patches, CLS, biases and heads in the logit, and what each token would predict after each layer."
    )
    if not st.toggle("Decompose the logit", key="logit", bind="query-params"):
        return
    config = run.config.model
    classes = cache.test_set(run).classes
    if not selection.method.needs_class:  # else its classes are chosen with the method
        with st.container(horizontal=True):
            selection = pick_classes(selection, classes[: config.num_classes])
    target = classes[selection.target]
    name = target if selection.contrast is None else f"{target} − {classes[selection.contrast]}"
    shares = _decompose(logit_shares, run, epoch, image, selection)
    cls = "CLS and registers" if config.num_registers else "CLS"
    parts = {"patches": float(shares.patches.sum()), cls: float(shares.cls), "biases": float(shares.bias)}
    logit = float(_decompose(target_logit, run, epoch, image, selection))
    st.markdown(f"**Shares of the logit of {escape_markdown(name)}**, which sum to it.")
    st.plotly_chart(sum_bars(parts, "logit", logit), key="logit_shares")
    st.caption(
        "LibraGrad, arXiv 2411.16760; the method “Logit shares” shows those of the patches as a map. Attention weights "
        "are treated as constants, so the query–key computation gets no credit."
    )
    if reason := why_no_contributions(config):
        st.info(reason, icon=":material/info:")
    else:
        _contributions(_decompose(direct_contributions, run, epoch, image, selection), config.grid)
    if config.pool == "cls":
        _lens(_decompose(logit_lens, run, epoch, image, selection), config)


def _contributions(terms: Contributions, grid: int) -> None:
    st.markdown("**Direct contributions of each head, from each patch.**")
    heads = terms.heads[0].numpy()
    rows = []
    for layer, by_head in enumerate(heads, 1):
        names = [f"head {head}" for head in range(1, len(by_head) + 1)]
        sums = [f"{values.sum():+.2f}" for values in by_head]
        rows.append(Row(f"layer {layer}", map_tiles(by_head[:, -(grid**2) :], names, sums)))
    limit = scale_limit(heads[..., -(grid**2) :])
    scale = signed_scale("Logits; below each head its sum over all tokens.", limit)
    tiles(rows, scale, key="logit_heads", label="Contributions of the heads", choice=True)
    st.caption(
        f"The rest: MLPs {terms.mlps.sum():+.2f}, CLS embedding {terms.cls.sum():+.2f}, biases "
        f"{terms.bias.sum():+.2f}; in total {terms.logit.sum():.2f}. arXiv 2310.05916. Direct effects only: what an "
        "early layer contributes through later layers is credited to those."
    )


def _lens(values: Tensor, config: ViTConfig) -> None:
    st.markdown("**The logit that each token would have after each layer.**", help=explain("Logit lens"))
    lens = values[0].numpy()
    names = ["embedding", *(f"layer {layer}" for layer in range(1, len(lens)))]
    cells = map_tiles(lens[:, -config.num_patches :], names, [f"CLS {row[0]:+.2f}" for row in lens])
    scale = signed_scale("Logits.", scale_limit(lens))
    tiles([Row("patches", cells)], scale, key="logit_lens", label="Logit lens", choice=True)
    parts = "The last LayerNorm and the head" if config.norm == "pre" else "The head"
    st.caption(f"{parts} on every token. Only CLS after the last layer was trained for it.")


@memoize("Decomposing the logit")
def _decompose(function: Callable[..., T], run: Run, epoch: int, image: ImageId, selection: MethodSelection) -> T:
    return function(cache.model_of(run, epoch), cache.image_pixels(run, image), *selection.tensors())

"""What the tokens of an image receive, pass on and contain: attention sinks, and the features of the patches."""

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from minivit.attention import head_title
from minivit.attention.tokens import SINK_ATTENTION, SINK_VALUE, Sinks, sinks, token_statistics
from minivit.config import ViTConfig
from minivit.figures import attention_scale, scale_limit
from minivit.runs import Run
from pages.parts.attention.features import components, similarity, tile_size
from pages.parts.components.inspector import View
from pages.parts.components.tiles import Row, Scale, map_tiles, signed_scale, tiles
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.glossary import explain
from pages.parts.shell.url import bind_to_url, int_param


def tokens_section(run: Run, epoch: int, image: ImageId, view: View) -> None:
    """The section; nothing is computed until the user turns it on."""
    st.header("Sinks and features", anchor=False)
    st.caption("Is a bright patch of a map an attention sink? Which patches does the model represent alike?")
    if not st.toggle("Show sinks and features", key="tokens", bind="query-params"):
        return
    if view.masked:
        st.caption("Computed from the complete image, without masking.")
    config = run.config.model
    result = sinks(cache.analyze(token_statistics, run, epoch, (image,)), view.head, config.num_patches)
    attention_sinks(result, view, config)
    st.subheader("Which patches are alike?", anchor=False)
    patch = view.token - 1 if view.token else result.top_patch(view.layer)
    if not view.token:
        st.caption(
            f"CLS is selected above, so this is for p{patch}, the most attended patch of layer {view.layer + 1}."
        )
    other = _pick_other(run, image)
    similarity(run, epoch, image, other, view.layer, patch)
    st.subheader("Principal components of the patches", anchor=False)
    components(run, epoch, image, other, view.layer)


def _pick_other(run: Run, image: ImageId) -> int:
    """A second test image to compare with; by default the next one of the same class."""
    labels = cache.test_set(run).labels
    next_image = 0
    if isinstance(image, int):
        same = torch.roll(labels == labels[image], -image - 1)  # from the next image to this one
        next_image = (image + 1 + int(same.int().argmax())) % len(labels)
    other = int_param("other", range(len(labels)), next_image)
    return bind_to_url("other", other, st.number_input, "Compare with test image", 0, len(labels) - 1, width=220)


def attention_sinks(result: Sinks, view: View, config: ViTConfig) -> None:
    """A finding, maps of the attention that patches receive and of their norms, and a table of the layer in view."""
    st.subheader("Is a bright patch an attention sink?", anchor=False, help=explain("Attention sink"))
    st.markdown(finding(result, config))
    _received_maps(result, view, config)
    _norm_maps(result, config)
    _table(result, view, config)
    equal = " LayerNorm after each sum (“post”) makes the token norms nearly equal." if config.norm == "post" else ""
    unused = (
        " In the last layer, only the queries that the head reads affect the logits." if config.pool == "cls" else ""
    )
    st.caption(
        f"Called a sink here: at least {SINK_ATTENTION:g}× the median patch's attention with at most {SINK_VALUE:g}× "
        "its value norm. Such a token takes up attention without passing much on, so it says little about what is at "
        "its position. High token norms: patches that hold global information, 'Vision Transformers Need Registers', "
        f"arXiv 2309.16588.{equal}{unused}"
    )


def _received_maps(result: Sinks, view: View, config: ViTConfig) -> None:
    """The attention that patches receive in each layer."""
    tops = [result.top_patch(layer) for layer in range(config.depth)]
    received = _patches(result.received, config)
    captions = [_numbers(row, top, config) for row, top in zip(result.attention, tops, strict=True)]
    names = [f"layer {layer + 1}" for layer in range(config.depth)]
    low, high = attention_scale(received, num_tokens=1)
    text = (
        f"Attention that a patch receives from all tokens, {head_title(view.head)}; 1 if attention is uniform. "
        "Below: the most attended patch and CLS, as multiples of the median patch."
    )
    scale = Scale(title=text, low=low, high=high, marks={"1, uniform": 1.0})
    row = Row("attention received", map_tiles(received, names, captions))
    tiles([row], scale, key="tokens_received", label="Attention received", size=tile_size(config), choice=True)


def _norm_maps(result: Sinks, config: ViTConfig) -> None:
    """The norms of patches and of their values as multiples of the median's, in each layer."""
    tops = [result.top_patch(layer) for layer in range(config.depth)]
    names = [f"layer {layer + 1}" for layer in range(config.depth)]
    norms = {"value norm": result.value_norms, "token norm": result.token_norms}
    rows = []
    for name, values in norms.items():
        texts = [_numbers(row, top, config) for row, top in zip(values, [*tops, tops[-1]], strict=False)]
        rows.append(Row(name, map_tiles(_patches(values, config) - 1, [*names, "output"], texts)))
    scale = signed_scale(
        "Norm of a patch's value and of the patch as it enters the layer, relative to the median patch: −1 is zero, +1 "
        "is twice the median. Below: the same tokens as above, as multiples of the median patch.",
        scale_limit([_patches(result.value_norms, config) - 1], 1.0),
        "0, median",
    )
    tiles(rows, scale, key="tokens_norms", label="Norms", size=tile_size(config))


def finding(result: Sinks, config: ViTConfig) -> str:
    """The strongest sink, or that there is none, and the CLS and register tokens that are sinks."""
    P = config.num_prefix_tokens
    layer, patch = result.strongest()
    token = layer, P + patch
    share = float(result.received[token]) / config.num_tokens
    numbers = (
        f"p{patch} receives {_times(result.attention[token])} the median attention ({share:.0%} of all) and its value "
        f"is {_times(result.value_norms[token])} the median norm"
    )
    if result.is_sink[token]:
        sentences = [f"**Layer {layer + 1}: {numbers}: it behaves like a sink.**"]
        if (count := int(result.is_sink[:, P:].any(0).sum())) > 1:
            sentences.append(f"{count} of {config.num_patches} patches do in some layer.")
    else:
        passed_on = ", so its content is passed on" if result.attention[token] >= SINK_ATTENTION else ""
        sentences = [
            f"**No patch behaves like a sink.** The most attended, in layer {layer + 1}: {numbers}{passed_on}."
        ]
    for prefix in range(P):
        if layers := [str(index + 1) for index in np.flatnonzero(result.is_sink[:, prefix])]:
            sentences.append(f"{_name(prefix)} behaves like one in layer {', '.join(layers)}.")
    return " ".join(sentences)


def _table(result: Sinks, view: View, config: ViTConfig) -> None:
    """The tokens of the layer in view that a reader asks about, CLS and registers included."""
    P = config.num_prefix_tokens
    top = result.top_patch(view.layer)
    tokens = {f"p{top} (most attended)": P + top}
    if view.token and view.token - 1 != top:
        tokens[f"p{view.token - 1} (selected)"] = P + view.token - 1
    tokens |= {_name(token): token for token in range(P)}
    columns = {"attention": result.attention, "value norm": result.value_norms, "token norm": result.token_norms}
    indices = list(tokens.values())
    cells = {name: values[view.layer, indices].double().numpy() for name, values in columns.items()}
    formats = {name: st.column_config.NumberColumn(name, format="%.2f×") for name in columns}
    st.caption(f"Layer {view.layer + 1}, as multiples of the median patch:")
    st.dataframe({"token": list(tokens), **cells}, column_config=formats, hide_index=True, width="content")


def _name(token: int) -> str:
    return f"Register {token}" if token else "CLS"


def _numbers(values: Tensor, top: int, config: ViTConfig) -> str:
    """The values of the most attended patch and of CLS, below a map."""
    return f"p{top}: {_times(values[config.num_prefix_tokens + top])}\nCLS: {_times(values[0])}"


def _times(value: Tensor) -> str:
    return f"{value:.0f}×" if value >= 100 else f"{value:.1f}×"


def _patches(values: Tensor, config: ViTConfig) -> np.ndarray:
    """The values (L, n) of the patches of those of all tokens, (L, N)."""
    return values[:, config.num_prefix_tokens :].numpy()

"""Components on a page of their own; `show` in the URL says which."""

import numpy as np
import streamlit as st

from minivit.figures import attention_scale
from pages.parts.components.confusion import confusion
from pages.parts.components.gallery import GalleryItem, gallery
from pages.parts.components.inspector import View, attention_format, inspector
from pages.parts.components.live_curves import live_curves, to_send

state = st.session_state
state.setdefault("epoch", 5)
state.setdefault("picks", [])
show = st.query_params["show"].split()
EVIL = "<img src=x onerror=alert(1)>"
st.set_page_config("components", layout="wide")
st.title("Components")


@st.fragment
def curves() -> None:
    if st.button("Next epoch"):
        state.epoch += 1
    loss = [1 / (epoch + 1) for epoch in range(state.epoch + 1)]
    rows = [
        dict(epoch=epoch, train_loss=1.4 * x, test_loss=1.5 * x, train_acc=1 - 0.75 * x, test_acc=1 - 0.8 * x)
        for epoch, x in enumerate(loss)
    ]
    rows[0] |= dict(train_loss=None, train_acc=None)
    active = state.epoch < 7
    phase = "training" if active else "done"
    baselines = {"chance": 0.25, "most frequent class": 0.4}
    sent = to_send(rows, baselines=baselines, key="curves", active=active, phase=phase, best=3, headline="7/7")
    picked = live_curves(sent, key="curves")
    if picked is not None:
        state.marker = picked
        st.rerun(scope="fragment")
    st.text(f"epoch {state.epoch}, marker {state.get('marker')}")


@st.fragment
def inspected(layers: int, heads: int) -> None:
    state.setdefault("number", 0)
    state.number += st.button("Next image")
    rng = np.random.default_rng(state.number)
    image = rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    scores = np.exp(rng.normal(size=(layers, heads, 65, 65)))
    attn = (scores / scores.sum(-1, keepdims=True)).astype(np.float32)
    view = View(*state.setdefault("pick", (0, 0, 0)), tuple(state.setdefault("masked", [])))
    inspector(
        image,
        attn,
        view,
        patch_size=4,
        key="inspector",
        on_pick=lambda picked: state.update(pick=tuple(picked)[:3]),
        on_mask=lambda masked: state.update(masked=masked),
        value_format=attention_format(65),
        absolute_max=attention_scale(attn[:, :, 0, 1:], 65)[1],
    )
    st.text(f"image {state.number}, pick {tuple(state.pick)}, masked {state.masked}")


if "curves" in show:
    curves()

if "inspector" in show:
    inspected(int(st.query_params.get("layers", 1)), int(st.query_params.get("heads", 1)))

if "images" in show:
    shift = 100 if st.toggle("Other images") else 0
    images = np.random.default_rng(shift).integers(0, 255, (12, 3, 32, 32), np.uint8)
    titles = [GalleryItem(i + shift, "frog", "cat" if i % 2 else "frog", i % 2 == 0, "61%") for i in range(11)]
    titles.append(GalleryItem(11 + shift, EVIL))
    picked = gallery(images, titles, key="gallery", label="test images", selected=state.get("image"))
    if picked is not None:
        state.picks.append(picked)
        state.image = picked
        st.rerun()
    st.text(f"picked images {state.picks}")
    st.text(f"no images: {gallery(images[:0], [], key='none', label='none')}")

if "cells" in show:
    counts = np.array([[9, 1, 0], [2, 8, 0], [0, 0, 0]])
    picked = confusion(counts, ["cat", "frog", EVIL], key="cells", selected=state.get("cell"))
    if picked is not None:
        state.cell = picked or None
        st.rerun()
    st.text(f"cell {state.get('cell')}")

st.button("Rerun")
st.text("the end")

"""Widgets that choose a run, a checkpoint, a layer, heads or an image; each is bound to a name in the URL."""

from collections.abc import Sequence
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from minivit.attention import Head, write_head
from minivit.runs import EXAMPLE, Checkpoint, Run, best_epoch, find_run, list_runs, runs_to_open
from pages.parts.shell.glossary import explain
from pages.parts.shell.url import bind_to_url, int_param, param, param_button, set_params
from pages.parts.shell.wording import run_options

T = TypeVar("T")

EACH_HEAD = "each"  # in links of pages that can show all heads of a layer
OPEN_BEST = "open_best"  # in the session: whether runs open at their best epoch


def pick_run() -> Run:
    """The URL's run, or the newest; the example run, with a line that says so, if there are no others."""
    runs = {run.id: run for run in runs_to_open()}
    url_id = param("run")
    run_id = url_id or next(iter(runs))
    current = run_id if run_id in runs else None
    titles = run_options(list(runs.values()), runs[current].sweep if current else "")
    selection = bind_to_url(
        "run",
        current,
        st.selectbox,
        "Run",
        list(titles),
        index=0 if current else None,  # with None the user could clear it
        format_func=lambda run_id: titles.get(run_id, run_id),
        placeholder="Choose a run",
        clears=("epoch", "checkpoint"),  # another run opens at its newest epoch
    )
    if selection is None:
        find_run(url_id)  # raises: there is no such run
        st.stop()
    if not url_id:
        set_params(run=selection)
        st.rerun()  # so that the links to other pages open the same run
    run = runs[selection]
    if run.is_example:
        own = "" if list_runs() else " You have no runs of your own yet."
        st.caption(f"This run ships with MiniViT and is read-only.{own}")
    return run


def no_runs() -> None:
    """What a page shows if the user has no runs."""
    st.info("There are no runs yet. Train a model first; the article baseline takes about 30 seconds.")
    st.page_link("pages/train.py", label="Train a model", icon=":material/arrow_forward:")
    example = {"run": EXAMPLE.name}
    st.page_link(
        "pages/attention.py", label="Open the example run", icon=":material/arrow_forward:", query_params=example
    )


def pick_epoch(run: Run, label: str = "Epoch", name: str = "epoch", *, first: bool = False) -> int:
    """One of the run's saved epochs: the URL's, else the newest (or the first), or the best if the user prefers it."""
    epochs = run.epochs()
    if not epochs:
        run.load_model()  # raises: there are no checkpoints
    epoch = int_param(name, epochs, epochs[0] if first else _epoch_to_open(run, epochs[-1]))
    text = f"{explain('Epoch')} The weights of these epochs are saved."
    return _pick_saved(name, epoch, None if first else run, label, epochs, help=text)


def _pick_saved(name: str, value: T, best_of: Run | None, label: str, options: Sequence[T], **how: Any) -> T:
    """`value`, or one of the saved epochs or checkpoints that the user picks; beside the slider the best of a run."""
    if len(options) > 1:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            value = bind_to_url(name, value, st.select_slider, label, options, **how)
            if best_of:
                _best(best_of)
    set_params(**{name: value})
    return value


def _epoch_to_open(run: Run, newest: int) -> int:
    """The epoch of a run whose link names none."""
    best = best_epoch(run) if st.session_state.get(OPEN_BEST) else None
    return newest if best is None else best


def _best(run: Run) -> None:
    """Names the run's best epoch, opens it, and lets the user open every run there."""
    best = best_epoch(run)
    if best is None:
        return

    with st.popover(f"Best: {best}", icon=":material/star:", type="tertiary"):
        st.markdown(
            f"Epoch {best} has the highest test accuracy of the saved epochs. It is chosen by test accuracy, so that "
            "accuracy is slightly optimistic as an estimate for new images."
        )
        param_button(f"Open epoch {best}", "frame_best", {"epoch": best})
        st.checkbox(
            "Open runs at their best epoch",
            key=OPEN_BEST,
            persist_state="session",
            on_change=lambda: set_params(epoch=best) if st.session_state[OPEN_BEST] else None,
        )


def pick_checkpoint(run: Run) -> Checkpoint:
    """One of the run's checkpoints, steps of the first epoch included: the URL's `epoch`, else the newest."""
    if not run.epochs():
        run.load_model()  # raises: there are no checkpoints
    checkpoints = {str(checkpoint): checkpoint for checkpoint in run.checkpoints()}
    newest = list(checkpoints.values())[-1]
    default = str(newest) if newest.step else str(Checkpoint(_epoch_to_open(run, newest.epoch)))
    name = param("epoch") if param("epoch") in checkpoints else default
    titles = {name: run.checkpoint_title(checkpoint) for name, checkpoint in checkpoints.items()}
    how: dict[str, Any] = {"format_func": titles.__getitem__, "help": explain("Checkpoint")}
    return checkpoints[_pick_saved("epoch", name, run, "Checkpoint", list(checkpoints), **how)]


def pick_layer(depth: int, label: str, name: str) -> int:
    """A layer, from 1: the URL's, else the last; no widget if there is only one."""
    layers = range(1, depth + 1)
    layer = int_param(name, layers, depth)
    if depth > 1:
        layer = bind_to_url(name, layer, st.selectbox, label, layers, help=explain("Layer"))
    set_params(**{name: layer})
    return layer


def head_options(num_heads: int) -> dict[str, Head]:
    """The heads of a layer by their names in links: mean, max, then '1', '2', …"""
    heads: list[Head] = ["mean", "max", *range(num_heads)]
    return {write_head(head): head for head in heads}


def head_param(num_heads: int) -> Head:
    """The URL's head if the model has it, else the mean."""
    return head_options(num_heads).get(param("head"), "mean")


def pick_heads(num_heads: int, *, each: bool) -> list[Head]:
    """One head, the mean or the maximum, as in the URL; with `each`, also the mean followed by every head."""
    heads = {name: [head] for name, head in head_options(num_heads).items()}
    if each and num_heads > 1:
        heads[EACH_HEAD] = ["mean", *range(num_heads)]
    name = param("head") if param("head") in heads else "mean"
    titles = {name: name for name in heads} | {EACH_HEAD: "each, side by side"}
    if num_heads > 1:
        text = explain("Head")
        name = bind_to_url("head", name, st.selectbox, "Head", list(heads), format_func=titles.__getitem__, help=text)
    set_params(head=name)
    return heads[name]


def pick_image(num_images: int) -> int:
    """The index of one test image: the URL's, else the first; with buttons for its neighbors."""
    image = int_param("image", range(num_images), 0)
    with neighbor_buttons(range(num_images), image):
        # A test image instead of the user's picture
        image = bind_to_url("image", image, st.number_input, "Test image", 0, num_images - 1, clears=("picture",))
    set_params(image=image)
    return image


def neighbor_buttons(images: Sequence[int], image: int) -> DeltaGenerator:
    """Buttons for the images before and after `image`, in a container for what stands beside them."""
    beside = st.container(key="frame_image", horizontal=True, vertical_alignment="bottom", gap="xxsmall")
    position = images.index(image)
    for title, direction, neighbor in (("Previous", "left", position - 1), ("Next", "right", position + 1)):
        exists = neighbor in range(len(images))
        params = {"image": images[neighbor], "picture": None} if exists else {}
        icon = f":material/chevron_{direction}:"
        with beside:
            param_button("", f"frame_{title}", params, icon=icon, help=f"{title} image", disabled=not exists)
    return beside


def pick_num_images(sizes: Sequence[int], num_images: int, default: int, *, key: str, help: str) -> int:
    """One of the `sizes`, at most `num_images`; at first the largest that does not exceed `default`."""
    options = sorted({min(size, num_images) for size in sizes})
    index = max(0, sum(size <= default for size in options) - 1)
    return st.selectbox("Test images", options, index, key=key, bind="query-params", width=140, help=help)

"""What Home shows: an image of the example run with its attention, what to do next, and the newest runs as cards."""

import numpy as np
import streamlit as st
import torch

from minivit import data
from minivit.attention.localization import energy_inside, uniform_energy
from minivit.config import preset
from minivit.runs import EXAMPLE, Run, group_by_sweep, iterate_runs, list_runs, run_title, summarize
from minivit.runs.summary import best_run, most_urgent
from minivit.tour import example_run, read_highlights
from pages.parts.components.hero import hero
from pages.parts.runs.status import phase_badge, run_links, start_run
from pages.parts.settings.dataset import offer_download
from pages.parts.shell import cache
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import show_errors
from pages.parts.shell.memoize import memoize
from pages.parts.shell.wording import sweep_title
from pages.parts.tour.steps import step_params, steps

NUM_CARDS = 12


def opening() -> None:
    """The pictures, and what they show as a sentence."""
    run = example_run()
    image = read_highlights().image
    maps = _maps(run, image)
    test_set = cache.test_set(run)
    checkpoints = run.checkpoints()
    name = test_set.classes[test_set.labels[image]]
    num_tokens = run.config.model.num_tokens
    hero(
        test_set.images[image].numpy(),
        maps,
        key="home_hero",
        title=f"An image of the class {name}",
        checkpoints=[run.checkpoint_title(checkpoint) for checkpoint in checkpoints],
        scale=cache.run_scale(run),
        uniform=1 / num_tokens,
    )
    before, after, area = _shares_on_object(run, image)
    st.markdown(
        f"Untrained, the model attends to all patches nearly alike: the {name}, {area:.0%} of the image, gets "
        f"{before:.0%} of its attention to patches. After {checkpoints[-1].epoch} epochs it gets **{after:.0%}**, and "
        f"the most attended patch {num_tokens * maps[-1].max():.0f} × as much as with uniform attention."
    )


@memoize()
def _maps(run: Run, image: int) -> np.ndarray:
    """The CLS maps (F, P) of an image at every checkpoint: last layer, mean over its heads."""
    return np.concatenate([cache.cls_maps(run, checkpoint, (image,)) for checkpoint in run.checkpoints()])


@memoize()
def _shares_on_object(run: Run, image: int) -> tuple[float, float, float]:
    """The share of the attention to patches that is on the object, untrained and trained; the object's of the image."""
    image_set = cache.test_set(run).select([image])
    assert image_set.masks is not None  # the data set 'shapes' has them
    masks = image_set.masks[:]
    maps = torch.from_numpy(_maps(run, image)[[0, -1]])
    before, after = energy_inside(maps, masks, run.config.model.patch_size).tolist()
    return before, after, float(uniform_energy(masks)[0])


def start_options() -> None:
    """Three next steps side by side."""
    tour, train, runs = st.container(key="home_start").columns([1, 1.35, 1.1], gap="medium")
    with tour.container(border=True, height="stretch"):
        with st.container(key="home_tour"):
            page = f"pages/{steps()[0].page}.py"
            st.page_link(page, label="Take the tour", icon=":material/tour:", query_params=step_params(1))
        st.caption(f"{len(steps())} steps of less than a minute: from pixels to what attention does not say.")
    with train.container(border=True, height="stretch"):
        _train_your_own()
    with runs.container(border=True, height="stretch"):
        newest = next(iterate_runs(), None)
        label = "Open your newest run" if newest else "Open the example run"
        query = {"run": newest.id if newest else EXAMPLE.name}
        st.page_link("pages/attention.py", label=label, icon=":material/visibility:", query_params=query)
        st.caption("Any image, every layer, head and patch, before and after training.")
        if newest:
            st.page_link("pages/attention.py", label="Open the example run", query_params={"run": EXAMPLE.name})
        if may_change():
            st.page_link("pages/attention.py", label="Try your own image", query_params=query | {"own": "true"})


def _train_your_own() -> None:
    """One click to a first run, or on a read-only server, a line that says so."""
    if not may_change():
        st.caption("This server only shows runs. Train on your own computer.")
        return
    config = preset("article")
    if data.is_present("cifar10"):
        if st.button("Train the article baseline on CIFAR-10", icon=":material/play_arrow:"):
            start_run(config)
        st.caption("One layer on four classes. **Train** lets you choose images and settings first.")
        return
    if st.button("Train the article baseline on synthetic shapes", icon=":material/play_arrow:"):
        start_run(config.changed(dataset="shapes", classes=data.list_classes("shapes")[:4], epochs=30))
    with show_errors():
        offer_download("cifar10", aside=True)


def run_cards() -> None:
    """The newest runs, three cards in a row, or the next step if there are none."""
    runs = list_runs()
    if not runs:
        st.markdown("None yet. The button above starts one; **Train** lets you choose classes and settings first.")
    groups = group_by_sweep(runs)
    for start in range(0, len(groups[:NUM_CARDS]), 3):
        for column, group in zip(st.columns(3), groups[start : start + 3], strict=False):
            with column:
                _card(group)
    if len(groups) > NUM_CARDS:
        st.page_link("pages/runs.py", label=f"All {len(runs)} runs")


def _card(runs: list[Run]) -> None:
    """State, accuracy and links of a run, or of a sweep with its best accuracy."""
    sweep = runs[0].sweep
    best = best_run(runs)
    state = most_urgent(runs)
    accuracies = summarize(best).accuracies
    with st.container(border=True):
        st.text(sweep_title(sweep) if sweep else run_title(best))
        with st.container(horizontal=True, vertical_alignment="center"):
            phase_badge(state.phase)
            st.caption(f"{len(runs)} runs" if sweep else best.config.epoch_title(state.epoch))
        st.metric(
            "best test accuracy" if sweep else "test accuracy",
            f"{accuracies[-1]:.1%}" if accuracies else "–",
            chart_data=accuracies if len(accuracies) > 1 and not sweep else None,
        )
        if not sweep:
            run_links(best)
            return
        with st.container(horizontal=True, gap="small"):
            st.page_link("pages/sweeps.py", label="Sweep", query_params={"sweep": sweep})
            st.page_link("pages/runs.py", label="Runs", query_params={"sweep": sweep})
            st.page_link("pages/predictions.py", label="Best run", query_params={"run": best.id})

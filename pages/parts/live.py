"""A run while it trains: state, curves, what its attention does, buttons and log."""

import streamlit as st

from minivit.figures import duration, spread_over
from minivit.runs import Run, State, list_runs
from pages.parts import cached
from pages.parts.frame import param, pick_run
from pages.parts.live_curves import live_curves
from pages.parts.maps import maps
from pages.parts.runs import run_buttons, run_links, state_badge

NUM_PROBES = 8


def shown_run() -> Run:
    """The run of the URL; else the newest. Says what comes here where there is none."""
    if not list_runs() and not param("run"):
        st.info("The curves of the run appear here once you train a model.")
        st.stop()
    return pick_run("Shown run")


def live_run(run: Run) -> None:
    """The state of a run as it is now; the page is drawn anew when a worker starts or ends."""
    state, rows = run.state, run.metrics()
    if st.session_state.setdefault(f"live_active_{run.id}", state.active) != state.active:
        del st.session_state[f"live_active_{run.id}"]
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        state_badge(state)
        st.text(_headline(run, state, rows))
    if state.active:
        st.progress(min(1.0, (state.epoch + state.progress) / run.config.epochs))
    elif state.phase != "done":
        st.text(state.message)
    run_buttons(run, state)
    if state.phase == "done":
        run_links(run)
    live_curves(rows, num_classes=len(run.config.classes), key=f"live_curves_{run.id}")
    probes(run, state)
    with st.expander("Log"):
        st.code(run.log() or "Nothing yet.", language=None, height=240)


def probes(run: Run, state: State) -> None:
    """Eight held-out images with their maps, untrained and now, on one scale."""
    now = cached.recent_moment(run, state.active)
    if now is None:
        st.caption("The attention of eight held-out images appears here after epoch 0.")
        return
    held_out = cached.split(run.config)[1]
    chosen = spread_over(len(held_out), NUM_PROBES)
    last = run.config.model.depth - 1
    when = f"epoch {now.epoch}" if now.epoch or not now.step else f"step {now.step}"
    columns = {
        "untrained": cached.cls_maps(run, 0, chosen, last, "mean"),
        when: cached.cls_maps(run, now, chosen, last, "mean"),
    }
    num_tokens = run.config.model.num_patches + 1
    maps(
        held_out.images[chosen].numpy(), columns, key=f"live_probes_{run.id}", layout="strip", controls=False,
        clickable=False, size=72,
        scale=cached.run_scale(run, now), uniform=1 / num_tokens,
    )  # fmt: skip


def _headline(run: Run, state: State, rows: list[dict]) -> str:
    parts = [f"epoch {state.epoch} of {run.config.epochs}"]
    if rows:
        parts.append(f"held-out accuracy {rows[-1]['test_acc']:.1%}")
    trained = [row for row in rows[-5:] if row["train_seconds"]]
    if trained:
        parts.append(f"{trained[-1]['images_per_second']:,.0f} images/s")
        parts.append(f"lr {trained[-1]['lr']:.2g}")
    if state.active and trained:
        a_epoch = sum(row["train_seconds"] + row["eval_seconds"] for row in trained) / len(trained)
        parts.append(f"{duration(a_epoch * (run.config.epochs - state.epoch - state.progress))} left")
    elif state.active and state.message:
        parts.append(state.message)
    if run.environment:
        parts.append(f"{run.environment['device']}, {run.environment['threads']} thread(s)")
    return " · ".join(parts)

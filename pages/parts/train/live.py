"""A run while it trains: its state and buttons, its curves and attention maps, its log, and its result."""

from contextlib import suppress

import streamlit as st

from minivit.errors import MiniViTError
from minivit.runs import FINISHED, Phase, Run, best_epoch, iterate_runs
from minivit.runs.summary import SELECTION_BIAS
from minivit.stats import wilson
from pages.parts.components.live_curves import live_curves
from pages.parts.runs.manage import run_settings
from pages.parts.runs.status import continue_run, phase_badge, run_buttons, run_links
from pages.parts.shell import cache
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import fragment, show_errors
from pages.parts.shell.glossary import explain
from pages.parts.shell.pickers import pick_run
from pages.parts.shell.url import open_page, param
from pages.parts.shell.wording import duration
from pages.parts.train.poller import POLL_SECONDS, RunPoller, Status, poll_seconds, poller_of

WATCHED = "train_watched"  # in the session: the run that was last seen in training
IDLE_POLL_SECONDS = 10  # another process may resume a paused run
NUM_MORE = 10  # epochs
LINKS = {
    "See mistakes": ("predictions", {"result": "incorrect"}),
    "See attention": ("attention", {}),
    "Compare with {start}": ("compare", {}),
}


def pick_live_run() -> Run:
    """The URL's run, or the newest; stops with a hint if there are no runs."""
    if not param("run") and not any(iterate_runs()):
        st.info("The curves of the run appear here once you train a model.")
        st.stop()
    return pick_run()


def live_run(run: Run) -> None:
    """Everything about a run; the page reruns when its phase changes."""
    poller = poller_of(run)
    state = poller.poll(force=True).state
    every = poll_seconds(run, state) if state.active else IDLE_POLL_SECONDS
    with st.container():  # of varying content; without it the fragment below would move and be recreated
        with st.container(horizontal=True, vertical_alignment="center"):
            phase_badge(state.phase)
            fragment(lambda: run_buttons(run, state))
            if not state.active and state.message != FINISHED:
                st.text(state.message)
        if run.config.imported:
            run_links(run)
        elif state.phase == "done":
            result_card(run)
        with suppress(MiniViTError):  # reported below the curves, which do not need images
            cache.split(run.config)
    fragment(lambda: _curves(poller, state.phase), every=None if state.phase == "done" else every)
    if not run.config.imported:
        st.caption(run.config.train_loss_note)
    run_settings(run)
    with st.expander("Log", key=f"live_log_{run.id}", on_change="rerun") as log:
        if log.open:
            often = POLL_SECONDS if state.active else None
            fragment(lambda: st.code(run.log() or "Nothing yet.", language=None, height=240), every=often)


def _curves(poller: RunPoller, phase: Phase) -> None:
    """The refreshing part; a click on a curve opens Predictions at the nearest saved epoch."""
    run = poller.run
    status = poller.poll()
    _title_tab(run, status)
    if status.state.phase != phase:
        st.rerun()
    click = live_curves(status.payload, key=f"live_{run.id}")
    if click is not None and (epochs := run.epochs()):
        open_page("predictions", run=run.id, epoch=min(epochs, key=lambda epoch: abs(epoch - click)))
    if status.error:
        raise status.error


def _title_tab(run: Run, status: Status) -> None:
    """The share done, and then the end, in the title of the browser's tab; no end that the user has not waited for."""
    if status.state.active:
        st.session_state[WATCHED] = run
        st.set_page_config(page_title=f"{status.share_done:.0%} · MiniViT")
    elif st.session_state.get(WATCHED) == run:
        st.set_page_config(page_title=f"{status.state.phase} · MiniViT")


def result_card(run: Run) -> None:
    """Test accuracy with its interval, the best epoch and the time, and the next steps."""
    with st.container(border=True, gap="small"):
        if rows := run.metrics():
            _result(rows, best_epoch(run), run.environment.get("num_test"))
        with st.container(horizontal=True, gap="small", key="train_next", vertical_alignment="center"), show_errors():
            for label, (page, params) in LINKS.items():
                label = label.format(start=run.config.start_title)
                st.page_link(f"pages/{page}.py", label=label, query_params={"run": run.id, **params})
            help = None if run.config.schedule == "constant" else "The schedule is recomputed for the new total."
            can_continue = may_change() and not (run.is_example or run.config.minutes)
            if can_continue and st.button(f"Train {NUM_MORE} more epochs", key="train_more", help=help):
                continue_run(run, run.config.epochs + NUM_MORE)


def _result(rows: list[dict], best: int | None, num_test: int | None) -> None:
    accuracy = rows[-1]["test_acc"]
    parts = [f"**{accuracy:.1%}** test accuracy"]
    if num_test:
        low, high = wilson(round(accuracy * num_test), num_test)
        parts.append(f"95% interval {low:.1%} to {high:.1%} (Wilson)")
    parts += [f"best epoch {best}: {row['test_acc']:.1%}" for row in rows if row["epoch"] == best]
    parts.append(duration(sum((row["train_seconds"] or 0) + row["eval_seconds"] for row in rows)))
    st.markdown(" · ".join(parts), help=f"{explain('Wilson interval')} The best epoch is {SELECTION_BIAS}.")

"""A run while it trains: its state, buttons, curves, what its attention does, and its log.

What refreshes by itself is one component, and its bytes are made once for all who watch: a refresh costs the server
hardly more than Streamlit's own rerun of an empty part.
"""

import threading
import time
from contextlib import suppress
from typing import NamedTuple

import streamlit as st
from cachetools import LRUCache, cached

from minivit.data.image_set import evenly_spaced
from minivit.errors import MiniViTError
from minivit.runs import Checkpoint, Phase, Run, State, list_runs
from pages.parts.components.live_curves import live_curves, to_send
from pages.parts.components.maps import MapsData, maps_data
from pages.parts.runs.status import run_buttons, run_links, state_badge
from pages.parts.shell import cache
from pages.parts.shell.frame import fragment
from pages.parts.shell.pickers import pick_run
from pages.parts.shell.url import param
from pages.parts.shell.wording import duration

REFRESH_SECONDS = 2
SHARED_SECONDS = 0.9 * REFRESH_SECONDS  # how old what is shown may be: many who watch look at the files once
RESTING_SECONDS = 10  # a run that rests may be resumed from elsewhere
NUM_PROBES = 8


def shown_run() -> Run:
    """The run of the URL; else the newest. Says what comes here where there is none."""
    if not list_runs() and not param("run"):
        st.info("The curves of the run appear here once you train a model.")
        st.stop()
    return pick_run()


def live_run(run: Run) -> None:
    """The state of a run as it is now; the page is drawn anew when its phase changes."""
    watched = _watched(run)
    state = watched.look(anew=True).state
    every = REFRESH_SECONDS if state.active else RESTING_SECONDS
    with st.container():  # however much it holds, what refreshes keeps its place, or it would be drawn from nothing
        with st.container(horizontal=True, vertical_alignment="center"):
            state_badge(state)
            fragment(lambda: run_buttons(run, state))
            if state.phase == "done":
                run_links(run)
            elif not state.active:
                st.text(state.message)
        with suppress(MiniViTError):  # told below the curves, which need no images
            cache.split(run.config)
    fragment(lambda: _refreshed(watched, state.phase), every=None if state.phase == "done" else every)
    with st.expander("Log", key=f"live_log_{run.id}", on_change="rerun") as log:
        if log.open:
            fragment(lambda: _log(run), every=REFRESH_SECONDS if state.active else None)


class Look(NamedTuple):
    """A run as all who watch see it: its state, what the browser draws, and what kept maps from being there."""

    state: State
    sent: bytes
    problem: MiniViTError | None


class Watched:
    """One run that is looked at as often as one person who watches would, however many do."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._looking = threading.Lock()
        self._last: Look | None = None
        self._time = 0.0
        self._maps: dict[Checkpoint, MapsData] = {}

    def look(self, *, anew: bool = False) -> Look:
        """The run as it was at most `SHARED_SECONDS` ago, or `anew`; who comes while another looks takes the last."""
        if self._last and not anew:
            recent = time.monotonic() - self._time < SHARED_SECONDS
            if recent or not self._looking.acquire(blocking=False):
                return self._last
        else:
            self._looking.acquire()
        try:
            self._time = time.monotonic()
            self._last = self._now()
            return self._last
        finally:
            self._looking.release()

    def _now(self) -> Look:
        run = self.run
        state, rows, problem = run.state, run.metrics(), None
        try:
            probes = self._probes(state)
        except MiniViTError as error:
            probes, problem = None, error
        sent = to_send(
            rows, num_classes=len(run.config.classes), key=f"live_{run.id}", headline=_headline(run, state, rows),
            progress=min(1.0, (state.epoch + state.progress) / run.config.epochs), active=state.active, maps=probes,
            later="" if probes or problem else "The attention of eight test images appears here after epoch 0.",
        )  # fmt: skip
        return Look(state, sent, problem)

    def _probes(self, state: State) -> MapsData | None:
        """Eight test images with their maps, untrained and now, on one scale."""
        now = cache.recent_checkpoint(self.run, state.active)
        if now is not None and now not in self._maps:
            self._maps = {now: _probe_maps(self.run, now)}
        return self._maps[now] if now is not None else None


@cached(LRUCache(32), key=lambda run: (run, run.config.model_dump_json()), lock=threading.Lock())
def _watched(run: Run) -> Watched:
    return Watched(run)


def _refreshed(watched: Watched, phase: Phase) -> None:
    """What the run came to; the page is drawn anew where the run is no longer in `phase`."""
    look = watched.look()
    if look.state.phase != phase:
        st.rerun()
    live_curves(look.sent, key=f"live_{watched.run.id}")
    if look.problem:
        raise look.problem


def _log(run: Run) -> None:
    st.code(run.log() or "Nothing yet.", language=None, height=240)


def _probe_maps(run: Run, now: Checkpoint) -> MapsData:
    test_set = cache.split(run.config)[1]
    chosen = tuple(evenly_spaced(len(test_set), NUM_PROBES))
    last = run.config.model.depth - 1
    columns = {
        "untrained": cache.cls_maps(run, 0, chosen, last, "mean"),
        now.title: cache.cls_maps(run, now, chosen, last, "mean"),
    }
    return maps_data(
        test_set.images[list(chosen)].numpy(), columns, key=f"live_{run.id}", layout="strip", controls=False,
        clickable=False, size=72,
        scale=cache.checkpoint_scale(run, now), uniform=1 / (run.config.model.num_patches + 1),
    )  # fmt: skip


def _headline(run: Run, state: State, rows: list[dict]) -> str:
    parts = [f"epoch {state.epoch} of {run.config.epochs}"]
    if rows:
        parts.append(f"test accuracy {rows[-1]['test_acc']:.1%}")
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

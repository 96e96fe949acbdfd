"""The status of a run, read and encoded once for all viewers.

A refresh costs the server hardly more than Streamlit's rerun of an empty fragment.
"""

import threading
import time
from typing import Any, NamedTuple

from cachetools import LRUCache, cached

from minivit.data.image_set import evenly_spaced
from minivit.errors import MiniViTError
from minivit.runs import Checkpoint, Run, State, best_epoch, requested_learning_rate
from minivit.runs.summary import baselines, share_done
from pages.parts.components.live_curves import to_send
from pages.parts.components.maps import maps_data
from pages.parts.shell import cache
from pages.parts.shell.wording import duration

POLL_SECONDS = 2
START_POLL_SECONDS = 0.5  # until the first row
MAX_AGE = 0.9  # of a status, in intervals
NUM_PROBES = 8


class Status(NamedTuple):
    """Status of a run: its state, the share done, the payload for the browser, and the error that prevented maps."""

    state: State
    share_done: float  # 0..1
    payload: bytes
    error: MiniViTError | None


class RunPoller:
    """Polls one run as often as a single viewer would, however many there are."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._time = 0.0
        self._rows: list[dict] = []  # that the status is about, as many as there were
        self._headline = ""
        self._maps: dict[Checkpoint, dict[str, Any]] = {}

    def poll(self, *, force: bool = False) -> Status:
        """The status of at most `MAX_AGE` intervals ago, or with `force` a new one.

        While another viewer polls, the previous status is returned.
        """
        if self._status and not force:
            is_recent = time.monotonic() - self._time < MAX_AGE * poll_seconds(self.run, self._status.state)
            if is_recent or self._lock.locked():
                return self._status
        with self._lock:
            self._time = time.monotonic()
            self._status = self._read()
            return self._status

    def _read(self) -> Status:
        run = self.run
        state = run.state
        rows = run.metrics()
        error = None
        last = self._status
        title = headline(run, state, rows)
        is_same = last and (state, rows, title) == (last.state, self._rows, self._headline)
        if last and is_same and not state.active and not last.error:
            return last  # encoding 100,000 epochs takes a third of a second
        self._rows = list(rows)
        self._headline = title
        share = share_done(run, state, rows)
        try:
            maps = self._probe_maps(state)
        except MiniViTError as problem:
            maps = None
            error = problem
        payload = to_send(
            rows,
            baselines=baselines(run),
            key=f"live_{run.id}",
            headline=title,
            progress=share,
            active=state.active,
            phase=state.phase,
            best=best_epoch(run, rows),
            maps=maps,
            maps_notice="" if maps or error else "The attention of eight test images appears here after epoch 0.",
        )
        return Status(state, share, payload, error)

    def _probe_maps(self, state: State) -> dict[str, Any] | None:
        checkpoint = cache.recent_checkpoint(self.run, state.active)
        if checkpoint is not None and checkpoint not in self._maps:
            try:
                self._maps = {checkpoint: probe_maps(self.run, checkpoint)}
            except MiniViTError:
                # A training that has saved many checkpoints keeps every second one; the next is kept, or the one after
                if not state.active or self.run.checkpoint_path(checkpoint).exists():
                    raise
        return next(iter(self._maps.values()), None)


@cached(LRUCache(32), key=lambda run: (run, run.config.model_dump_json()), lock=threading.Lock())
def poller_of(run: Run) -> RunPoller:
    """The poller that all viewers of a run share."""
    return RunPoller(run)


def poll_seconds(run: Run, state: State) -> float:
    """The interval in which viewers of an active run poll it: short while its worker starts, not while it waits."""
    is_starting = state.phase == "loading" or (state.phase == "queued" and not run.is_worker_alive())
    return START_POLL_SECONDS if is_starting else POLL_SECONDS


def probe_maps(run: Run, checkpoint: Checkpoint) -> dict[str, Any]:
    """Eight test images with their maps, before training and at a checkpoint, on one scale."""
    test_set = cache.test_set(run)
    indices = tuple(evenly_spaced(len(test_set), NUM_PROBES))
    columns = {run.checkpoint_title(each): cache.cls_maps(run, each, indices) for each in (Checkpoint(0), checkpoint)}
    return maps_data(
        test_set.images[list(indices)].numpy(),
        columns,
        key=f"live_{run.id}",
        interactive=False,
        size=72,
        scale=cache.checkpoint_scale(run, checkpoint),
        uniform=1 / run.config.model.num_tokens,
    )


def headline(run: Run, state: State, rows: list[dict]) -> str:
    """Epoch, accuracy, speed, remaining time and machine, in one line."""
    parts = [run.config.epoch_title(state.epoch)]
    if rows:
        parts.append(f"test accuracy {rows[-1]['test_acc']:.1%}")
    trained = [row for row in rows[-5:] if row["train_seconds"] and row["images_per_second"]]
    if trained:
        parts.append(f"{trained[-1]['images_per_second']:,.0f} images/s")
        parts.append(f"lr {trained[-1]['lr']:.2g}")
    if (lr := requested_learning_rate(run)) is not None:
        parts.append(f"lr {lr:g} from the next epoch")
    if state.active and trained:
        epoch_seconds = sum(row["train_seconds"] + row["eval_seconds"] for row in trained) / len(trained)
        all_seconds = 60 * run.config.minutes or epoch_seconds * run.config.epochs
        parts.append(f"{duration(all_seconds * (1 - share_done(run, state, rows)))} left")
    elif state.active and state.message:
        parts.append(state.message)
    environment = run.environment
    if "device" in environment and "threads" in environment:
        threads = environment["threads"]
        parts.append(f"{environment['device']}, {threads} thread{'s' if threads != 1 else ''}")
    return " · ".join(parts)

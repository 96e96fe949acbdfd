"""The run folder: settings, progress and weights of one training run, readable in a text editor.

    config.json         the settings                           metrics.jsonl   one row per epoch, appended
    environment.json    machine, versions, data fingerprint    state.json      phase, epoch, message
    checkpoints/        weights                                control.json    the user's last command
    resume.safetensors  what training continues from           log.txt         the worker's output
    worker.lock         locked by the running worker           name.txt        the user's name for the run, if any
    lr.txt              the requested learning rate, until the next epoch
    pictures/           pictures that the user saved with it   sweep.txt       the run's sweep, if it is a trial
    annotations.json    tags, a note, favorite or not          init.safetensors  initial weights from another run

Readers never see a partial file: files are replaced atomically or appended by complete lines.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from minivit.config import SCHEMA_VERSION, TrainConfig
from minivit.errors import ConfigError, RunError
from minivit.files import explain_os_error, is_text
from minivit.model import MiniViT
from minivit.runs import schema
from minivit.runs.checkpoint import (
    Checkpoint,
    checkpoint_interval,
    is_saved_early,
    list_checkpoints,
    load_tensors,
    load_weights,
    serialize,
)
from minivit.runs.files import (
    EXAMPLE,
    append_line,
    default_runs_dir,
    delete_folder,
    delete_on_error,
    explain_write_error,
    hold_lock,
    is_locked,
    make_unique_folder,
    read_cached,
    read_rows,
    remove_temporary_files,
    replace_file,
    tail,
)
from minivit.runs.schema import Command, Phase, State

STARTUP_SECONDS = 60  # a new process may need this long to import torch and to lock its run


class Run:
    """A run folder; `create` and `open` validate it. As keys of caches, runs are equal by folder and model settings."""

    def __init__(self, path: Path, config: TrainConfig) -> None:
        self.path = path
        self.config = config

    @cached_property
    def _resolved(self) -> Path:
        return self.path.resolve()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Run):
            return False
        return (self._resolved, self.config.model) == (other._resolved, other.config.model)

    def __hash__(self) -> int:
        return hash((self._resolved, self.config.model))

    def __repr__(self) -> str:
        rows = self.metrics()
        state = self.state
        accuracy = f", test accuracy {rows[-1]['test_acc']:.1%}" if rows else ""
        return f"<Run {self.path}: {state.phase}, {self.config.epoch_title(state.epoch)}{accuracy}>"

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        from minivit.runs.card import card_html  # which reads runs

        return card_html(self)

    @classmethod
    def create(cls, config: TrainConfig, runs_dir: str | Path | None = None, sweep: str = "") -> Self:
        """A new folder in `runs_dir`, named by the time and the classes, whose phase is queued.

        `sweep` is that of a trial. Raises RunError if the folder cannot be created, and as `initial_weights`.
        """
        from minivit.runs.initial import initial_weights  # which opens runs

        root = Path(os.path.expanduser(runs_dir)) if runs_dir else default_runs_dir()  # noqa: PTH111, never raises
        slug = re.sub(r"[^a-z0-9]+", "-", "-".join(config.classes).lower()).strip("-")[:40].strip("-") or "run"
        weights = initial_weights(config, root) if config.init_from else None
        with explain_os_error(RunError, f"Cannot create a run in {root}", "Choose another folder."):
            path = make_unique_folder(root, f"{datetime.now():%Y%m%d-%H%M%S}-{slug}")
        run = cls(path, config)
        with delete_on_error(path), explain_write_error(path):
            (path / "checkpoints").mkdir()
            if sweep:
                replace_file(path / "sweep.txt", sweep.encode())
            if weights:
                replace_file(path / "init.safetensors", serialize(weights))
            run.set_config(config)
            run.set_state("queued", message="Waiting for a worker.")
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The run in folder `path`; RunError if there is none or its settings are invalid."""
        path = Path(path)
        if not is_text(str(path)):
            raise RunError(f"The run's folder {str(path)!r} has a name that is not valid text. Rename it.")
        try:
            version, config = read_cached(path / "config.json", schema.parse_config)
        except FileNotFoundError:
            raise RunError(f"There is no run in {path}: it has no config.json. Choose another run.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"The settings of the run in {path} cannot be read: {error}.") from None
        except ConfigError as error:
            raise RunError(f"The settings of the run in {path} are invalid: {error}") from None
        if config is None:
            raise RunError(
                f"The run in {path} has settings of version {version!r}, but this MiniViT reads version "
                f"{SCHEMA_VERSION}. Open it with the MiniViT version that created it."
            )
        return cls(path, config)

    @property
    def id(self) -> str:
        """The folder's name, which links use."""
        return self.path.name

    @property
    def name(self) -> str:
        """The name that the user gave the run, or an empty string."""
        return self.read("name.txt", schema.parse_line, "")

    @property
    def sweep(self) -> str:
        """The sweep that the run is a trial of, or an empty string."""
        return self.read("sweep.txt", schema.parse_line, "")

    @property
    def is_example(self) -> bool:
        """Whether this is the run that ships with MiniViT."""
        return self._resolved == EXAMPLE

    def require_own(self) -> None:
        """RunError for the example run, which is read-only."""
        if self.is_example:
            raise RunError("The example run ships with MiniViT and is read-only. Train your own run to change it.")

    def rename(self, name: str) -> None:
        """Sets the displayed name; an empty one removes it. The folder keeps its own, so links stay valid."""
        self.require_own()
        replace_file(self.path / "name.txt", name.strip()[: schema.MAX_NAME_LENGTH].encode(errors="replace"))

    def set_config(self, config: TrainConfig) -> None:
        content = {"schema_version": SCHEMA_VERSION, **config.model_dump(mode="json")}
        replace_file(self.path / "config.json", content)
        self.config = config

    # Progress

    @property
    def state(self) -> State:
        """The phase; a run whose worker has died is reported as failed."""
        state = self.stored_state()
        if state is None:
            return State("failed", message="The run's state.json cannot be read.")
        seconds = abs(time.time() - state.updated)  # the clock may have been set back
        is_starting = state.phase == "queued" and seconds < STARTUP_SECONDS
        if not state.active or is_starting or self.is_worker_alive():
            return state
        if self.stored_state() != state:  # the worker has ended properly since the first read
            return self.state
        message = f"The worker stopped unexpectedly after epoch {state.epoch}. Resume continues from there."
        return State("failed", state.epoch, message, updated=state.updated)

    def stored_state(self) -> State | None:
        """What `state.json` says; None if it cannot be read."""
        return self.read("state.json", schema.parse_state)

    def set_state(self, phase: Phase, epoch: int = 0, message: str = "", progress: float = 0.0) -> None:
        """Replaces `state.json`."""
        replace_file(self.path / "state.json", asdict(State(phase, epoch, message, progress, time.time())))

    @property
    def environment(self) -> dict[str, Any]:
        """Machine, versions and data of the run; empty until a worker has started, and if it cannot be read."""
        return self.read("environment.json", schema.parse_environment) or {}

    def set_environment(self, facts: Mapping[str, Any]) -> None:
        replace_file(self.path / "environment.json", facts)

    def metrics(self) -> list[dict[str, Any]]:
        """One row per epoch, in order, from epoch 0, before training."""
        rows, _ = read_rows(self.path / "metrics.jsonl", schema.parse_row)
        by_epoch = {row["epoch"]: row for row in rows}  # the last row of an epoch counts
        return [by_epoch[epoch] for epoch in sorted(by_epoch)]

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        append_line(self.path / "metrics.jsonl", schema.write_row(row))

    def log(self, num_lines: int = 200) -> str:
        """The last lines of the worker's output."""
        return "\n".join(tail(self.path / "log.txt", num_lines))

    # Weights

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints in order: epochs, and steps 1, 2, 4, 8, … of the first one."""
        return list_checkpoints(self.path / "checkpoints")

    def epochs(self) -> list[int]:
        """Epochs that have a checkpoint, in order."""
        return [checkpoint.epoch for checkpoint in self.checkpoints() if not checkpoint.step]

    def checkpoint_title(self, checkpoint: int | Checkpoint) -> str:
        """The title on pages, charts and reports; of epoch 0 that of the settings."""
        checkpoint = Checkpoint.of(checkpoint)
        return self.config.start_title if checkpoint == Checkpoint(0) else checkpoint.title

    def load_model(self, checkpoint: int | Checkpoint | None = None) -> MiniViT:
        """The model at a checkpoint or after an epoch (the newest by default), on the CPU, in evaluation mode.

        Raises RunError if there is no such checkpoint or it does not match this run's model.
        """
        epochs = self.epochs()
        if not epochs:
            raise RunError(f"The run {self.id} has no checkpoints yet. Wait for epoch 0, or choose another run.")
        checkpoint = Checkpoint.of(epochs[-1] if checkpoint is None else checkpoint)
        path = self.checkpoint_path(checkpoint)
        if not path.is_file():
            saved = ", ".join(map(str, epochs)) if len(epochs) <= 12 else f"{epochs[0]}, {epochs[1]}, …, {epochs[-1]}"
            raise RunError(f"The run {self.id} has no checkpoint {checkpoint}; it has {saved}.")
        with torch.device("meta"):  # without memory and random weights, as the file replaces them
            model = MiniViT(self.config.model)
        load_weights(path, model)
        return model.eval()

    def save_checkpoint(self, model: nn.Module | Mapping[str, Tensor], epoch: int) -> None:
        """Saves the weights after `epoch`, a model or tensors by name; deletes those outside `checkpoint_interval`."""
        data = serialize(model)
        replace_file(self.checkpoint_path(Checkpoint(epoch)), data)
        interval = checkpoint_interval(epoch, len(data))
        for saved in self.epochs():
            if saved % interval and saved != epoch:  # epoch 0 and the newest are always kept
                self.checkpoint_path(Checkpoint(saved)).unlink(missing_ok=True)

    def save_early(self, model: nn.Module | Mapping[str, Tensor], step: int) -> None:
        """Saves the weights after `step` steps of the first epoch, unless they are large."""
        data = serialize(model)
        if is_saved_early(len(data)):
            replace_file(self.checkpoint_path(Checkpoint(0, step)), data)

    def save_resume(self, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
        replace_file(self.path / "resume.safetensors", serialize(tensors, dict(facts)))

    def load_resume(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """What `save_resume` saved, None if nothing; RunError if it is damaged."""
        path = self.path / "resume.safetensors"
        return load_tensors(path) if path.is_file() else None

    # The worker and its commands

    def request(self, command: Command) -> None:
        """Sends a command to the worker."""
        self.require_own()
        replace_file(self.path / "control.json", {"command": command, "time": time.time()})

    def requested_command(self) -> Command | None:
        control = self.read("control.json", schema.parse_control)
        return control["command"] if control else None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds `worker.lock` and removes temporary files of a killed worker; RunError if another worker holds it."""
        self.require_own()
        refusal = RunError(f"Another worker is training the run {self.id}. Stop it first.")
        with hold_lock(self.path / "worker.lock", refusal):
            for folder in (self.path, self.path / "checkpoints"):
                remove_temporary_files(folder)
            yield

    def is_worker_alive(self) -> bool:
        """Whether a process holds `worker.lock`."""
        return is_locked(self.path / "worker.lock")

    def delete(self) -> None:
        """Deletes the folder; RunError while a worker is training the run."""
        self.require_own()
        if self.state.active or self.is_worker_alive():
            raise RunError(f"A worker is training the run {self.id}. Stop it before you delete the run.")
        delete_folder(self.path)

    def read(self, name: str, parse: Callable[[bytes], Any], default: Any = None) -> Any:
        """What `parse` makes of a small file; `default` if it cannot be read."""
        try:
            return read_cached(self.path / name, parse)
        except OSError:
            return default

    def checkpoint_path(self, checkpoint: int | Checkpoint) -> Path:
        """The file of the weights at a checkpoint or after an epoch."""
        return self.path / "checkpoints" / Checkpoint.of(checkpoint).file_name

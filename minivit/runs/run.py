"""The run folder: everything that is known of one training, readable in a text editor.

    config.json         the settings, written once             metrics.jsonl   one row an epoch, appended
    environment.json    machine, versions, data fingerprint    state.json      phase, epoch, message; replaced whole
    checkpoints/        weights by checkpoint                      control.json    what a person asked for
    resume.safetensors  what training goes on from             log.txt         what the worker printed
    worker.lock         held by the living worker              name.txt        what a person calls it, if anything
                                                               sweep.txt       of a trial, its sweep

A reader never sees half a file: files are written beside and renamed, or appended by whole lines.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from minivit.config import SCHEMA_VERSION, TrainConfig
from minivit.errors import ConfigError, RunError
from minivit.model import MiniViT
from minivit.runs.checkpoint import Checkpoint
from minivit.runs.files import (
    is_held,
    json_rows,
    last_lines,
    make_unused,
    parsed,
    read_json,
    remove_leftovers,
    replace_file,
    unwritable,
)  # fmt: skip

Phase = Literal["queued", "loading", "training", "paused", "stopped", "failed", "done"]
Command = Literal["pause", "resume", "stop"]
ACTIVE: tuple[Phase, ...] = ("queued", "loading", "training")

CHECKPOINT_BUDGET = 256 * 2**20  # bytes of weights a run keeps; past it every second epoch goes
STARTUP_SECONDS = 60  # a new process may need this long to import torch and take its lock
NAME_LENGTH = 80  # letters of a name that a person gives
HOLD_SECONDS = 5  # a worker that is done may need this long to end, and a reader has the lock for an instant


@dataclass(frozen=True)
class State:
    """What a run is doing. `epoch` is the last finished one; `progress` is 0..1 within what goes on now."""

    phase: Phase
    epoch: int = 0
    message: str = ""
    progress: float = 0.0
    updated: float = 0.0  # seconds since 1970

    @property
    def active(self) -> bool:
        """Whether a worker is busy with the run, or about to be."""
        return self.phase in ACTIVE


class Run:
    """One run folder. `create` makes one and `open` reads one; both validate it. Runs are equal if their folder is."""

    def __init__(self, path: Path, config: TrainConfig) -> None:
        self.path = path
        self.config = config

    @cached_property
    def _resolved(self) -> Path:
        return self.path.resolve()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self._resolved == other._resolved

    def __hash__(self) -> int:
        return hash(self._resolved)

    @classmethod
    def create(cls, config: TrainConfig, runs_dir: str | Path | None = None, sweep: str = "") -> Self:
        """A new folder for `config` in `runs_dir`, named by the time and the classes; its phase is queued.

        It is a trial of `sweep` where one is named.

        Raises RunError where the folder cannot be made.
        """
        root = Path(runs_dir) if runs_dir else default_runs_dir()
        slug = re.sub(r"[^a-z0-9]+", "-", "-".join(config.classes).lower()).strip("-")[:40].strip("-") or "run"
        stem = f"{datetime.now():%Y%m%d-%H%M%S}-{slug}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            path = make_unused(root, stem)
            (path / "checkpoints").mkdir()
        except OSError as error:
            raise RunError(
                f"No run can be written in {root}: {error.strerror}. Choose another folder for runs."
            ) from None
        if sweep:
            replace_file(path / "sweep.txt", sweep.encode())
        replace_file(path / "config.json", {"schema_version": SCHEMA_VERSION, **config.model_dump(mode="json")})
        run = cls(path, config)
        run.set_state("queued", message="Waiting for a worker.")
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The run in folder `path`; RunError where there is none or its settings cannot be read."""
        path = Path(path)
        try:
            version, config = parsed(path / "config.json", _settings)
        except FileNotFoundError:
            raise RunError(f"There is no run in {path}: it has no config.json. Choose another run.") from None
        except (OSError, ValueError) as error:
            raise RunError(f"The settings of the run in {path} cannot be read: {error}.") from None
        except ConfigError as error:
            raise RunError(f"The settings of the run in {path} are not valid: {error}") from None
        if config is None:
            raise RunError(
                f"The run in {path} has settings of version {version!r}, and this MiniViT reads version "
                f"{SCHEMA_VERSION}. Open it with the MiniViT that made it."
            )
        return cls(path, config)

    @property
    def id(self) -> str:
        """The folder's name, which is the run's name in links."""
        return self.path.name

    @property
    def name(self) -> str:
        """What a person calls the run; empty where nobody named it."""
        return self._line("name.txt")

    @property
    def sweep(self) -> str:
        """The sweep that the run is a trial of; empty where it is none."""
        return self._line("sweep.txt")

    def rename(self, name: str) -> None:
        """Gives the run a name to be shown by; an empty one takes it away. The folder keeps its own, so links hold."""
        replace_file(self.path / "name.txt", name.strip()[:NAME_LENGTH].encode(errors="replace"))

    # What is read

    @property
    def state(self) -> State:
        """The phase as it really is: a worker that died without a word shows as failed."""
        stored = read_json(self.path / "state.json")
        state = _state(stored)
        if state is None:
            return State("failed", message="The run's state.json cannot be read.")
        waiting_for_worker = state.phase == "queued" and time.time() - state.updated < STARTUP_SECONDS
        if state.active and not waiting_for_worker and not self.is_worker_alive():
            again = read_json(self.path / "state.json")  # it may have ended well between the two looks
            if again == stored:
                message = f"The worker ended without a word after epoch {state.epoch}. Resume goes on from there."
                return State("failed", state.epoch, message, updated=state.updated)
            return self.state
        return state

    @property
    def environment(self) -> dict[str, Any]:
        """Machine, versions and data of the run; empty before a worker has started."""
        return read_json(self.path / "environment.json")

    def metrics(self) -> list[dict[str, Any]]:
        """One row an epoch, in order, from epoch 0, the untrained model."""
        found = json_rows(self.path / "metrics.jsonl")
        rows = {row["epoch"]: row for row in found if isinstance(row.get("epoch"), int)}  # one done again counts
        return [rows[epoch] for epoch in sorted(rows)]

    def epochs(self) -> list[int]:
        """Epochs whose weights are kept, rising."""
        return [checkpoint.epoch for checkpoint in self.checkpoints() if not checkpoint.step]

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints whose weights are kept, in order: epochs, and within the first one steps 1, 2, 4, 8, …"""
        folder = self.path / "checkpoints"
        names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208, thousands, at every refresh of a page
        return sorted(checkpoint for name in names if (checkpoint := Checkpoint.from_file_name(name)))

    def log(self, num_lines: int = 200) -> str:
        """The last lines that the worker printed."""
        return "\n".join(last_lines(self.path / "log.txt", num_lines))

    def load_model(self, checkpoint: int | Checkpoint | None = None) -> MiniViT:
        """The model at a checkpoint or after an epoch (the newest by default), on the CPU, in evaluation mode.

        Raises RunError if there is no such checkpoint or it does not hold this run's model.
        """
        epochs = self.epochs()
        if not epochs:
            raise RunError(f"The run {self.id} has no checkpoints yet. Wait for epoch 0, or choose another run.")
        checkpoint = Checkpoint.of(epochs[-1] if checkpoint is None else checkpoint)
        path = self._checkpoint_path(checkpoint)
        if not path.is_file():
            raise RunError(f"The run {self.id} has no checkpoint {checkpoint}; it has {_listed(epochs)}.")
        model = MiniViT(self.config.model)
        try:
            model.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError, OSError):
            raise RunError(f"{path} does not hold the weights of this run's model. Choose another epoch.") from None
        return model.eval()

    # What is written

    def set_state(self, phase: Phase, epoch: int = 0, message: str = "", progress: float = 0.0) -> None:
        """Replaces `state.json`."""
        replace_file(self.path / "state.json", asdict(State(phase, epoch, message, progress, time.time())))

    def set_environment(self, facts: Mapping[str, Any]) -> None:
        """Replaces `environment.json`."""
        replace_file(self.path / "environment.json", dict(facts))

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Appends one row to `metrics.jsonl`, whole, and on a line of its own."""
        path, line = self.path / "metrics.jsonl", json.dumps(row) + "\n"
        try:
            with path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a crash or a full disk left half a row there
                        line = "\n" + line
                file.write(line.encode())
        except OSError as error:
            raise unwritable(path, error) from None

    def save_checkpoint(self, model: torch.nn.Module | Mapping[str, Tensor], epoch: int) -> None:
        """Keeps the weights of `epoch`: a model, or its weights by name.

        Where the weights of all epochs would pass `CHECKPOINT_BUDGET`, only every second epoch stays, then every
        fourth, and so on; epoch 0 and the newest always stay.
        """
        weights = _weights(model)
        replace_file(self._checkpoint_path(Checkpoint(epoch)), weights)
        step = 1
        while (epoch // step + 2) * len(weights) > CHECKPOINT_BUDGET and step <= epoch:
            step *= 2
        for kept in self.epochs():
            if kept % step and kept != epoch:
                self._checkpoint_path(Checkpoint(kept)).unlink(missing_ok=True)

    def save_early(self, model: torch.nn.Module | Mapping[str, Tensor], step: int) -> None:
        """Keeps the weights after `step` steps of the first epoch, unless they are too large to keep so often."""
        weights = _weights(model)
        if len(weights) <= CHECKPOINT_BUDGET / 64:
            replace_file(self._checkpoint_path(Checkpoint(0, step)), weights)

    def save_resume(self, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
        """Replaces what training goes on from."""
        whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        replace_file(self.path / "resume.safetensors", save(whole, dict(facts)))

    def load_resume(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """What `save_resume` kept, or None where nothing was; RunError where it is broken."""
        path = self.path / "resume.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise RunError(f"{path} cannot be read ({error}). Delete it to start the run from its beginning.") from None

    # What a person asks for, and who works on it

    def request(self, command: Command) -> None:
        """Leaves a command for the worker."""
        replace_file(self.path / "control.json", {"command": command, "time": time.time()})

    def requested_command(self) -> Command | None:
        """The last command that was left."""
        command = read_json(self.path / "control.json").get("command")
        return command if command in get_args(Command) else None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds `worker.lock` inside, and tidies up after one that was killed; RunError where another worker has it."""
        lock = FileLock(self.path / "worker.lock")
        try:
            lock.acquire(timeout=HOLD_SECONDS)
        except Timeout:
            raise RunError(f"Another worker is busy with the run {self.id}. Stop that one first.") from None
        try:
            for folder in (self.path, self.path / "checkpoints"):
                remove_leftovers(folder)
            yield
        finally:
            lock.release()

    def is_worker_alive(self) -> bool:
        """Whether some process holds `worker.lock`."""
        return is_held(self.path / "worker.lock")

    def delete(self) -> None:
        """Removes the folder; RunError while a worker is busy with it."""
        if self.state.active or self.is_worker_alive():
            raise RunError(f"A worker is still busy with the run {self.id}. Stop it before you delete it.")
        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise RunError(f"{self.path} cannot be deleted whole: {error}. Remove it by hand.") from None

    def _line(self, name: str) -> str:
        """A file of one line, as it is shown; empty where there is none."""
        try:
            return parsed(self.path / name, _printable)
        except OSError:
            return ""

    def _checkpoint_path(self, checkpoint: Checkpoint) -> Path:
        return self.path / "checkpoints" / checkpoint.file_name


def default_runs_dir() -> Path:
    """`MINIVIT_RUNS` from the environment, or `runs/` beside the package."""
    return Path(os.environ.get("MINIVIT_RUNS") or Path(__file__).parents[2] / "runs")


def list_runs(runs_dir: str | Path | None = None) -> list[Run]:
    """The readable runs of a folder, newest first."""
    root = Path(runs_dir) if runs_dir else default_runs_dir()
    found = []
    try:
        with os.scandir(root) as entries:  # links are not followed, so that every run lies inside
            names = sorted((entry.name for entry in entries if entry.is_dir(follow_symlinks=False)), reverse=True)
    except OSError:
        return []
    for name in names:
        with suppress(RunError):
            found.append(Run.open(root / name))
    return found


def group_by_sweep(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs line by line: the trials of one sweep in one line, where its first stands, every other run in its own."""
    lines: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        lines.setdefault((run.sweep, "" if run.sweep else run.id), []).append(run)
    return list(lines.values())


def find_run(run_id: str, runs_dir: str | Path | None = None) -> Run:
    """The run of that name, directly inside the runs folder and nowhere else; RunError where there is none."""
    root = Path(runs_dir) if runs_dir else default_runs_dir()
    try:
        path = (root / run_id).resolve()
        inside = path.parent == root.resolve() and path.name == run_id and path.is_dir()
    except (OSError, ValueError, RuntimeError):  # too long a name, a null character, a ring of links
        inside = False
    if not inside:
        raise RunError(f"The run {run_id!r} is not in {root}. It may have been deleted; choose another run.")
    return Run.open(root / run_id)


def _settings(data: bytes) -> tuple[Any, TrainConfig | None]:
    """The schema version of a `config.json` and the settings, None where the version is another one than ours."""
    stored = json.loads(data)
    version = stored.pop("schema_version", None) if isinstance(stored, dict) else None
    return version, TrainConfig.model_validate(stored) if version == SCHEMA_VERSION else None


def _printable(data: bytes) -> str:
    text = data.decode(errors="replace")[: 4 * NAME_LENGTH]
    return "".join(letter for letter in text if letter.isprintable())[:NAME_LENGTH].strip()


def _weights(model: torch.nn.Module | Mapping[str, Tensor]) -> bytes:
    weights = model.state_dict() if isinstance(model, torch.nn.Module) else model
    return save({name: tensor.contiguous().cpu() for name, tensor in weights.items()})


def _listed(epochs: list[int]) -> str:
    return ", ".join(map(str, epochs)) if len(epochs) <= 12 else f"{epochs[0]}, {epochs[1]}, …, {epochs[-1]}"


def _state(stored: Mapping[str, Any]) -> State | None:
    """The state that a `state.json` holds; None where it holds none."""
    if stored.get("phase") not in get_args(Phase):
        return None
    kinds: dict[str, Any] = {"epoch": int, "message": str, "progress": float, "updated": float}
    try:
        return State(stored["phase"], **{name: kind(stored[name]) for name, kind in kinds.items() if name in stored})
    except (TypeError, ValueError, OverflowError):
        return None

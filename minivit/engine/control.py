"""What surrounds the training loop: the user's commands, the device, and the final state of the run folder."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from threading import Lock
from typing import Any, get_args

import torch

from minivit.config import TrainConfig
from minivit.engine.description import data_facts
from minivit.engine.distributed import SINGLE_PROCESS, Group
from minivit.engine.events import Events, Interrupted, ignore
from minivit.engine.stopping import stop_reason
from minivit.engine.threads import AdaptiveThreads
from minivit.engine.training import Training
from minivit.errors import DataError, MiniViTError, TrainingError
from minivit.machine import acquire_device, choose_threads, environment, num_slots_needed, pick_device
from minivit.runs import FINISHED, Command, Phase, Run

POLL_SECONDS = 0.3  # between two reads of control.json
SLOW_STEP_SECONDS = 0.3  # the process ends without waiting for steps that take longer
COMMANDS: tuple[Command | None, ...] = (None, *get_args(Command))


class StatusPoller:
    """Reports progress and reads the user's commands, every POLL_SECONDS.

    Processes that train together poll before the same step: the main process broadcasts the number of steps until then.
    """

    def __init__(self, run: Run, events: Events, group: Group = SINGLE_PROCESS) -> None:
        self.run = run
        self.events = events
        self.group = group
        self.last_poll = 0.0
        self.num_steps = 0  # since the last poll
        self.next_poll = 1  # the number of steps at which a group polls again
        self.slow_steps = False
        self.is_ending = False  # whether the loop has read a command and is about to end
        self.ending_lock = Lock()
        self.threads: AdaptiveThreads | None = None  # if the settings leave their number open
        self.save_position: Callable[[], None] = ignore  # saves the last position, if the process has to end now

    def poll(self, epoch: int, step: int, num_steps: int) -> Command | None:
        """The command to pause or stop, if there is one; called before each step, of which `step` are done."""
        self.num_steps += 1
        if not (self._is_due() if self.group.world_size == 1 else self.num_steps >= self.next_poll):
            return None
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # steps are only enqueued: without it, progress and commands are seconds ahead
        if self.threads:
            self.threads.adapt(epoch)
        self.events.progress(f"epoch {epoch}", step, num_steps)
        steps_per_second = self.num_steps / (time.monotonic() - self.last_poll)
        command = self._poll_folder("training", epoch - 1, f"epoch {epoch}", step / num_steps)
        index, self.next_poll, slow = self.group.broadcast(
            COMMANDS.index(command),
            max(1, int(steps_per_second * POLL_SECONDS)),
            steps_per_second < 1 / SLOW_STEP_SECONDS,
        )
        self.num_steps = 0
        self.slow_steps = bool(slow)
        with self.ending_lock:
            self.is_ending = index > 0
        return COMMANDS[index]

    def report(self, task: str, done: int, total: int, phase: Phase = "loading") -> None:
        """Reports progress before the first step; raises Interrupted on a command to pause or stop."""
        self.events.progress(task, done, total)
        if self._is_due() and (command := self._poll_folder(phase, self.run.state.epoch, task, done / max(total, 1))):
            raise Interrupted(command)

    def _is_due(self) -> bool:
        return time.monotonic() - self.last_poll > POLL_SECONDS

    def _poll_folder(self, phase: Phase, epoch: int, task: str, progress: float) -> Command | None:
        """Updates state.json; the command to pause or stop, if this is the main process and there is one."""
        self.last_poll = time.monotonic()
        if not self.group.is_main:
            return None
        command = self.run.requested_command()
        self.run.set_state(phase, epoch, task, progress)
        return command if command in ("pause", "stop") else None


@contextmanager
def training_device(config: TrainConfig, group: Group, poller: StatusPoller) -> Iterator[torch.device]:
    """The device to train on, once no other run uses it; sets the number of CPU threads."""
    device = pick_device(config.device, group.local_rank, group.local_world_size)
    num_slots = num_slots_needed(config, device, group.local_world_size)
    task = f"Waiting for another run to release the {device.type}."
    queue = acquire_device(device, lambda: poller.report(task, 0, 1, "queued"), num_slots)
    with queue if group.is_main else nullcontext(device) as device:
        group.barrier("device acquired")
        if device.index is not None:
            torch.cuda.set_device(device)
        num_threads = choose_threads(config, group.local_world_size)
        torch.set_num_threads(num_threads)
        if device.type == "cpu" and group.world_size == 1 and num_threads > 1 and not config.threads:
            poller.threads = AdaptiveThreads(num_threads, poller.events.log)
        poller.report("Loading the images", 0, 1)
        yield device


@contextmanager
def hold_run(run: Run, events: Events, group: Group) -> Iterator[None]:
    """Holds the run's lock, and at the end sets the phase that fits how training ended; in the main process.

    A pause or stop ends the block without an exception.
    """
    if not group.is_main:
        with suppress(Interrupted):
            yield
        return

    with run.hold():
        if run.state.phase != "queued":
            run.request("resume")  # discards a command for an earlier worker
        try:
            yield
        except Interrupted as interrupted:
            phase, epoch, message = interrupted_state(interrupted.command, run.state.epoch)
            run.set_state(phase, epoch, message)
            events.log(f"{phase} after epoch {epoch}")
        except (KeyboardInterrupt, BrokenPipeError) as error:
            cause = "Stopped with Ctrl-C" if isinstance(error, KeyboardInterrupt) else "Its output was closed"
            run.set_state("stopped", run.state.epoch, f"{cause}. Resume continues from here.")
            raise
        except Exception as error:
            is_user_error = isinstance(error, MiniViTError)
            message = str(error) if is_user_error else f"{type(error).__name__}: {error}. The log has the details."
            run.set_state("failed", run.state.epoch, message)
            raise
        else:
            reason = stop_reason(run.config, {row["epoch"]: row["test_acc"] for row in run.metrics()})
            run.set_state("done", run.state.epoch, reason or FINISHED)
            if reason:
                events.log(reason)


def interrupted_state(command: Command, epoch: int) -> tuple[Phase, int, str]:
    """Phase, epoch and message of a run that a command interrupted."""
    phase: Phase = "paused" if command == "pause" else "stopped"
    return phase, epoch, f"{phase.capitalize()} at epoch {epoch}. Resume continues from here."


@contextmanager
def explain_memory_error(config: TrainConfig) -> Iterator[None]:
    """Converts out-of-memory errors raised in the block to TrainingError; torch has several RuntimeErrors for them."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise TrainingError(
            f"This machine has too little memory for {config.model.num_patches:,} patches per image and a batch of "
            f"{config.batch_size:,}. Choose larger patches, smaller images, a smaller batch or a smaller model."
        ) from None


def record_environment(run: Run, training: Training, group: Group) -> None:
    """Writes `environment.json`; raises an error if processes or sessions of the run see different images."""
    facts = data_facts(training)
    group.check_same("images", facts["data_fingerprint"])
    group.check_same("state of the run", f"{training.epoch} {training.step} {len(run.metrics())}")
    check_same_images(run, facts)
    machine = environment(training.device)
    process = {"host": socket.gethostname(), **{name: machine[name] for name in ("device", "gpu", "threads")}}
    devices = [json.loads(text) for text in group.all_gather("devices", json.dumps(process))]
    if group.is_main:
        run.set_environment(machine | {"world_size": group.world_size, "devices": devices} | facts)


def check_same_images(run: Run, facts: Mapping[str, Any]) -> None:
    """DataError if `run` was started with other images than those of `facts`.

    The split depends on the order of the images: with other images, the model would be tested on images that it was
    trained on, and metrics before and after would not be comparable.
    """
    previous = run.environment
    if not run.metrics() or previous.get("data_fingerprint") in (None, facts["data_fingerprint"]):
        return
    counts = ((env.get("num_train", 0), env.get("num_test", 0)) for env in (previous, facts))
    before, now = (f"{num_train:,} training and {num_test:,} test images" for num_train, num_test in counts)
    change = f"it had {before}, now there are {now}" if before != now else f"there are still {before}"
    raise DataError(
        f"The images of {run.id} have changed since it was started ({change}). Restore them, or start a new run. "
        f"To continue with the changed images, delete {run.path / 'environment.json'}."
    )

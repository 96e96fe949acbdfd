"""What stands around the loop: commands of a person, progress, and how the run folder is left at the end."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from minivit.config import TrainConfig
from minivit.data import Progress
from minivit.engine.distributed import ALONE, Group, Interrupted
from minivit.errors import DataError, MiniViTError, TrainingError
from minivit.runs import Phase, Run

Say = Callable[[str], None]

GLANCE_SECONDS = 0.3  # how often the loop looks for commands and tells its progress


class Glance:
    """Now and then tells how far the work is, and ends it with `Interrupted` where somebody wished so.

    Several processes that train together look up at the same step: the main one says how many steps from now.
    """

    def __init__(self, run: Run, progress: Progress, group: Group = ALONE) -> None:
        self.run, self.progress, self.group, self.last = run, progress, group, 0.0
        self.steps, self.next = 0, 1  # since the last glance, and at which the next one is; in a group only

    def due(self) -> bool:
        """Whether it is time to look up; asked once before each training step."""
        if self.group.size == 1:
            return self._long_ago()
        self.steps += 1
        return self.steps >= self.next

    def __call__(self, phase: Phase, what: str, done: int, total: int, epoch: int | None = None) -> None:
        together = phase == "training" and self.group.size > 1
        self.progress(what, done, total)
        if not together and not self._long_ago():
            return
        command, now = self.run.requested_command(), time.monotonic()
        if together:
            pace = self.steps / (now - self.last)
            command, self.next = self.group.agree(command, max(1, int(pace * GLANCE_SECONDS)))
            self.steps = 0
        self.last = now
        self.run.set_state(phase, self.run.state.epoch if epoch is None else epoch, what, done / max(total, 1))
        if command in ("pause", "stop"):
            raise Interrupted(command)

    def _long_ago(self) -> bool:
        return time.monotonic() - self.last > GLANCE_SECONDS


@contextmanager
def ending(run: Run, say: Say) -> Iterator[None]:
    """Leaves the run in the phase that fits how the work inside ended."""
    if run.state.phase != "queued":
        run.request("resume")  # a command for an earlier worker no longer counts
    try:
        yield
    except Interrupted as interrupted:
        phase: Phase = "paused" if interrupted.command == "pause" else "stopped"
        run.set_state(phase, run.state.epoch, "As you asked. Resume goes on from here.")
        say(f"{phase} after epoch {run.state.epoch}")
    except KeyboardInterrupt:
        run.set_state("stopped", run.state.epoch, "Stopped at the keyboard. Resume goes on from here.")
        raise
    except BrokenPipeError:
        run.set_state("stopped", run.state.epoch, "Nobody reads its output any longer. Resume goes on from here.")
        raise
    except MiniViTError as error:
        run.set_state("failed", run.state.epoch, str(error))
        raise
    except Exception as error:
        run.set_state("failed", run.state.epoch, f"{type(error).__name__}: {error}. The log has the details.")
        raise


@contextmanager
def enough_memory(config: TrainConfig) -> Iterator[None]:
    """Says in a sentence that the memory is too small; torch says so by RuntimeErrors of several kinds."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise TrainingError(
            f"This machine has too little memory for {config.model.num_patches:,} patches an image and a batch of "
            f"{config.batch_size:,}. Choose larger patches, smaller images, a smaller batch or a smaller model."
        ) from None


def refuse_other_images(run: Run, facts: Mapping[str, Any]) -> None:
    """DataError where `run` was begun with other images than those of `facts`.

    Going on would be silently wrong: the split follows the order of the images, so that test ones would have been
    learned from, and the rows of the two parts could not be compared.
    """
    before = run.environment
    if not run.metrics() or before.get("data_fingerprint") in (None, facts["data_fingerprint"]):
        return
    then, now = (f"{one['num_train']:,} and {one['num_test']:,} held out" for one in (before, facts))
    changed = f"it had {then}, and now there are {now}" if then != now else f"the numbers, {then}, are the same"
    raise DataError(
        f"The images of {run.id} have changed since it was begun ({changed}). Put them back as they were, or start a "
        f"new run. To go on nevertheless, delete {run.path / 'environment.json'}."
    )

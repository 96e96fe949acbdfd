"""What stands around the loop: wishes of a person, progress, and how the run folder is left at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minivit.config import TrainConfig
from minivit.data import Progress
from minivit.errors import MiniViTError, TrainingError
from minivit.runs import Phase, Run, Wish

Say = Callable[[str], None]

GLANCE_SECONDS = 0.3  # how often the loop looks for wishes and tells its progress


class Interrupted(Exception):
    """Somebody asked the loop to pause or to stop."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self.wish = wish


class Glance:
    """Now and then tells how far the work is, and ends it with `Interrupted` where somebody wished so."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self.run, self.progress, self.last = run, progress, 0.0

    def due(self) -> bool:
        """Whether the last glance is long enough ago."""
        return time.monotonic() - self.last > GLANCE_SECONDS

    def __call__(self, phase: Phase, what: str, done: int, total: int, epoch: int | None = None) -> None:
        self.progress(what, done, total)
        if not self.due():
            return
        self.last = time.monotonic()
        self.run.set_state(phase, self.run.state.epoch if epoch is None else epoch, what, done / max(total, 1))
        wish = self.run.asked()
        if wish in ("pause", "stop"):
            raise Interrupted(wish)


@contextmanager
def ending(run: Run, say: Say) -> Iterator[None]:
    """Leaves the run in the phase that fits how the work inside ended."""
    if run.state.phase != "queued":
        run.ask("resume")  # what was wished of an earlier worker is settled
    try:
        yield
    except Interrupted as interrupted:
        phase: Phase = "paused" if interrupted.wish == "pause" else "stopped"
        run.set_state(phase, run.state.epoch, "As you asked. Resume goes on from here.")
        say(f"{phase} after epoch {run.state.epoch}")
    except KeyboardInterrupt:
        run.set_state("stopped", run.state.epoch, "Stopped at the keyboard. Resume goes on from here.")
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

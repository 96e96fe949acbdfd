"""When a run ends before its last epoch: when its time is up, at its target accuracy, or when it no longer improves."""

import time
from collections.abc import Mapping

from minivit.config import TrainConfig
from minivit.engine.distributed import SINGLE_PROCESS, Group


class Clock:
    """The elapsed share of a run's time, including start-up, loading, evaluation and saving, but not the device queue.

    At most half of the time is counted as `startup_seconds`, so that half is left for training. All processes of a
    group read the main process's clock.
    """

    def __init__(self, minutes: float, startup_seconds: float = 0.0, group: Group = SINGLE_PROCESS) -> None:
        self.seconds = 60 * minutes
        self.group = group
        self.spent_before = min(startup_seconds, self.seconds / 2)
        self.started = time.perf_counter()
        self.epoch_end_seconds = 0.0  # last measured time for evaluation and saving after an epoch's last step
        self.share = 0.0  # at the last reading, 0..1

    def spent(self) -> float:
        """Elapsed seconds of the run's time, including earlier sessions."""
        spent = self.spent_before + time.perf_counter() - self.started
        return max(spent, self.seconds) if self.share == 1 else spent

    def read(self, num_epoch_ends: int = 1) -> float:
        """The elapsed share of the time, 0..1, with time reserved for `num_epoch_ends` evaluations."""
        left = self.seconds - self.spent() - num_epoch_ends * self.epoch_end_seconds
        share = 1.0 if left <= 0 else 1 - left / (self.seconds - self.epoch_end_seconds)
        (billionths,) = self.group.broadcast(int(1e9 * share))
        self.share = min(1.0, max(0.0, billionths / 1e9))
        return self.share


def stop_reason(config: TrainConfig, test_accs: Mapping[int, float]) -> str | None:
    """Why training ends now, as a sentence, None if it goes on; `test_accs` are the test accuracies by epoch.

    Patience counts epochs since the first one with the best accuracy so far.
    """
    if not test_accs:
        return None
    last = max(test_accs)
    best = min(test_accs, key=lambda epoch: (-test_accs[epoch], epoch))
    if config.target_acc and test_accs[last] >= config.target_acc:
        return f"Reached the target accuracy of {100 * config.target_acc:g}% in epoch {last}."
    if config.patience and last - best >= config.patience:
        return f"Stopped early: in {config.patience} epochs, no test accuracy was better than that of epoch {best}."
    return None

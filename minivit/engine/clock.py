"""The clock of a training that is given a time instead of a number of epochs."""

import time

from minivit.engine.distributed import SINGLE_PROCESS, Group


class Clock:
    """How much of a run's time is over, with start-up, loading, evaluation and saving; waiting for a device is free.

    `startup_seconds` count up to half of the time, so that the other half is left for training. All processes of a
    group read the main process's clock.
    """

    def __init__(self, minutes: float, startup_seconds: float = 0.0, group: Group = SINGLE_PROCESS) -> None:
        self.seconds, self.group = 60 * minutes, group
        self.spent_before = min(startup_seconds, self.seconds / 2)
        self.started = time.perf_counter()
        self.epoch_end_seconds = 0.0  # for evaluating and saving after an epoch's last step, as last measured
        self.share = 0.0  # at the last reading, 0..1

    def spent(self) -> float:
        """Seconds of the run's time that are over, those of earlier sessions included."""
        spent = self.spent_before + time.perf_counter() - self.started
        return max(spent, self.seconds) if self.share == 1 else spent

    def read(self, num_epoch_ends: int = 1) -> float:
        """The share of the time that is over, 0..1, where so many more evaluations have to fit in."""
        left = self.seconds - self.spent() - num_epoch_ends * self.epoch_end_seconds
        share = 1.0 if left <= 0 else 1 - left / (self.seconds - self.epoch_end_seconds)
        (parts,) = self.group.broadcast(int(1e9 * share))
        self.share = min(1.0, max(0.0, parts / 1e9))
        return self.share

"""CPU threads that follow the load of the machine.

All threads wait for the slowest one in every operation, so a single thread that has to share a core slows down all of
them. Images per second of `strong` on two cores of an AMD EPYC, alone and next to one process that computes all the
time: 1,156 and 300 with two threads, 626 and 616 with one (`python -m minivit bench --parts load`).
"""

import math
import time
from collections.abc import Callable

import torch

MISSING_SHARE = 0.7  # of a core that a thread lacks before it is given up; with less, it is still worth having
MEASURED_SECONDS = 1.0  # so that a short burst of other work changes nothing
MIN_PAUSE, MAX_PAUSE = 1.0, 16.0  # seconds until all threads are tried again; doubled after each failure


class AdaptiveThreads:
    """Gives torch as many threads as the last steps got cores, `max_threads` at most; logs the first change."""

    def __init__(self, max_threads: int, log: Callable[[str], None]) -> None:
        self.max_threads = max_threads
        self.num_threads = max_threads
        self.log = log
        self.pause = MIN_PAUSE
        self.retry_at = 0.0  # when all threads are tried again
        self.has_logged = False
        self.epoch = 0  # of the last call, with its wall-clock and CPU time
        self.wall = time.perf_counter()
        self.cpu = time.process_time()

    def adapt(self, epoch: int) -> None:
        """Adapts to the load since the last call, several times a second.

        Only times within an epoch count, as others include saving files.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        if epoch == self.epoch:
            if wall - self.wall < MEASURED_SECONDS:
                return
            self._choose((cpu - self.cpu) / (wall - self.wall), wall)
        self.wall, self.cpu, self.epoch = wall, cpu, epoch

    def _choose(self, num_cores: float, now: float) -> None:
        num_granted = max(1, math.ceil(num_cores + MISSING_SHARE - 1))
        if num_granted < self.num_threads:
            if self.num_threads == self.max_threads:
                self.retry_at = now + self.pause
                self.pause = min(2 * self.pause, MAX_PAUSE)
            self._use(num_granted)
        elif self.num_threads == self.max_threads:
            self.pause = MIN_PAUSE
        elif now >= self.retry_at:
            self._use(self.max_threads)

    def _use(self, num_threads: int) -> None:
        if not self.has_logged and num_threads < self.max_threads:
            self.log(f"Other processes use this machine: training takes {num_threads} of {self.max_threads} threads.")
            self.has_logged = True
        self.num_threads = num_threads
        torch.set_num_threads(num_threads)

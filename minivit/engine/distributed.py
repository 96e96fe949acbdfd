"""Several processes that train one run together: one per GPU or per share of the cores, on one machine or on several.

`torchrun` starts them. All take the same steps: order and augmentation are drawn for the whole batch from (seed, epoch,
step), each process computes the gradient of its shard, and gradients are summed over all. So every process has the same
weights, equal to those of a single process up to float rounding. Only dropout depends on the number of processes.
Rank 0, the main process, alone writes the run folder, holds its lock and waits for the device.

Tensors are reduced by the backend (nccl between GPUs, gloo else). Everything else goes through torchrun's
key-value store, which outlives the processes: a process that fails stores the reason there, so that the others,
whose connections break, can report it too.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from minivit.engine.events import Interrupted
from minivit.errors import MiniViTError, TrainingError
from minivit.runs import Command

Result = TypeVar("Result")

BARRIER_SECONDS = 0.05  # polling interval of a barrier


class Group:
    """The processes that train one run together. This class is a group of a single process."""

    rank, world_size = 0, 1
    local_rank, local_world_size = 0, 1  # on this machine

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """This process's rows of a tensor; shards differ by one row at most."""
        return batch

    def all_reduce(self, tensor: Tensor) -> None:
        """Replaces the tensor by its sum over all processes."""

    def broadcast(self, *values: int) -> list[int]:
        """The integers of the main process."""
        return list(values)

    def barrier(self, name: str) -> None:
        """Waits, without a limit, until all processes have called it; each name is used once."""

    def all_gather(self, name: str, text: str) -> list[str]:
        """The text of each process, by rank; each name is used once."""
        return [text]

    def report_command(self, command: Command) -> None:
        """Tells the other processes that a command ends this one."""

    def propagate_error(self) -> AbstractContextManager[None]:
        """Reports exceptions raised in the block to the other processes, which then end too."""
        return nullcontext()

    def main_process_first(self, work: Callable[[], Result]) -> Result:
        """`work()` in each process, first in one process of each machine, so that the others use its cache."""
        if self.local_rank == 0:
            result = work()
        self.barrier("first of each machine")
        if self.local_rank:
            result = work()
        self.barrier("all of each machine")
        return result

    def check_same(self, name: str, text: str) -> None:
        """TrainingError if the processes have different texts."""
        if len(set(self.all_gather(name, text))) > 1:
            raise TrainingError(
                f"The {self.world_size} processes of this run do not see the same {name}. "
                "Use the same folders for runs and data on all machines."
            )


SINGLE_PROCESS = Group()


class ProcessGroup(Group):
    """The group of a process that torchrun started."""

    def __init__(self) -> None:
        store, self.rank, self.world_size = next(dist.rendezvous("env://"))
        self.local_rank, self.local_world_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        has_own_gpu = self.local_world_size <= torch.cuda.device_count()  # nccl refuses to share one
        backend = "cpu:gloo,cuda:nccl" if has_own_gpu else "gloo"
        self.store = dist.PrefixStore("minivit", store)
        store = dist.PrefixStore("torch", store)
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world_size)

    def shard(self, batch: Tensor) -> Tensor:
        return batch.tensor_split(self.world_size)[self.rank]

    def all_reduce(self, tensor: Tensor) -> None:
        with self._explain_lost_connection():
            dist.all_reduce(tensor)

    def broadcast(self, *values: int) -> list[int]:
        tensor = torch.tensor(values)
        with self._explain_lost_connection():
            dist.broadcast(tensor, src=0)
        return tensor.tolist()

    def barrier(self, name: str) -> None:
        with self._explain_lost_connection():
            self.store.add(name, 1)
            while self.store.add(name, 0) < self.world_size:
                self._raise_propagated()
                time.sleep(BARRIER_SECONDS)

    def all_gather(self, name: str, text: str) -> list[str]:
        with self._explain_lost_connection():
            self.store.set(f"{name} {self.rank}", text)
            self.barrier(name)
            return [self.store.get(f"{name} {rank}").decode() for rank in range(self.world_size)]

    def report_command(self, command: Command) -> None:
        self._report({"command": command})

    @contextmanager
    def propagate_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if isinstance(error, Interrupted):
                self.report_command(error.command)
            else:
                message = str(error) if isinstance(error, MiniViTError) else f"{type(error).__name__}: {error}"
                source = f" (Process {self.rank + 1} of {self.world_size}, on {socket.gethostname()}.)"
                self._report({"error": message if self.is_main else message + source})
            raise

    def _report(self, reason: Mapping[str, str]) -> None:
        with suppress(RuntimeError):  # the machine with the store may be gone
            self.store.compare_set("reason", "", json.dumps(reason))  # the first reason is kept

    def _raise_propagated(self) -> None:
        """Raises the error that ended another process, if one has ended."""
        if self.store.check(["reason"]):
            reason: dict[str, Any] = json.loads(self.store.get("reason"))
            raise Interrupted(reason["command"]) if "command" in reason else TrainingError(reason["error"])

    @contextmanager
    def _explain_lost_connection(self) -> Iterator[None]:
        """Converts lost connections in the block to the error that ended the other process."""
        try:
            yield
        except RuntimeError as error:
            with suppress(RuntimeError):  # the store may be gone too
                self._raise_propagated()
            raise TrainingError(
                f"Another of the {self.world_size} processes of this run ended without an error message. "
                "Resume continues after the last finished epoch, with any number of processes."
            ) from error


@contextmanager
def init_process_group() -> Iterator[Group]:
    """The group of this process: those that torchrun started together, or a single process."""
    if not dist.is_torchelastic_launched():
        yield SINGLE_PROCESS
        return
    group = ProcessGroup()
    with group.propagate_error():
        yield group
        with suppress(Interrupted):
            group.barrier("end")  # keeps connections open until all are done
    dist.destroy_process_group()

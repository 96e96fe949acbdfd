"""Several processes that train one run together: one a GPU or a share of the cores, on one machine or on several.

`torchrun` starts them, `join` brings them together. All go through the same steps: order and augmentation are drawn
for the whole batch from (seed, epoch, step), each process learns from its share of it, and gradients are added up
over all. So every process holds the same weights, and they are those of one process up to float rounding. Only dropout
depends on the number of processes. Process 0, the main one, has the run folder, its lock and the device's queue.

Messages go two ways. Tensors are added up by the backend (nccl between GPUs, gloo between CPUs). Everything else goes
by torchrun's key-value store, which outlives any of the processes: who leaves early says there why, so that the others,
whose connections break, can say it too.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from minivit.errors import MiniViTError, TrainingError
from minivit.runs import Command, Run

Made = TypeVar("Made")

MEET_SECONDS = 0.05  # how often a process that waits for the others looks for them
COMMANDS = (None, *get_args(Command))


class Interrupted(Exception):
    """Somebody asked the loop to pause or to stop."""

    def __init__(self, command: Command) -> None:
        super().__init__(command)
        self.command = command


class Group:
    """The processes that train one run together. This one is its only member, and so has nothing to do."""

    rank, size = 0, 1
    local_rank, local_size = 0, 1  # among those on this machine

    @property
    def is_main(self) -> bool:
        """Whether this process has the run folder."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of what concerns all, along the first dimension; parts differ by one row at most."""
        return batch

    def add_up(self, *tensors: Tensor) -> None:
        """Puts in each tensor the sum over all processes."""

    def agree(self, command: Command | None, number: int) -> tuple[Command | None, int]:
        """What the main process says, in all."""
        return command, number

    def meet(self, where: str) -> None:
        """Waits, however long, until all have come."""

    def gather(self, what: str, text: str) -> list[str]:
        """What each process says, by rank."""
        return [text]

    def telling(self) -> AbstractContextManager[None]:
        """Tells all why this process leaves, where what is inside ends by an error or a command."""
        return nullcontext()

    def in_turn(self, work: Callable[[], Made]) -> Made:
        """`work()` of each process, on each machine first by one, so that the others find what it has cached."""
        if self.local_rank == 0:
            done = work()
        self.meet("the first of each machine is done")
        if self.local_rank:
            done = work()
        self.meet("all are done")
        return done

    def same(self, what: str, text: str) -> None:
        """TrainingError where the processes do not all say the same."""
        if len(set(self.gather(what, text))) > 1:
            raise TrainingError(
                f"The {self.size} processes of this training do not see the same {what}. "
                "Let all machines have the same folders for runs and data."
            )


ALONE = Group()


class Processes(Group):
    """The group of a process that torchrun started together with others."""

    def __init__(self) -> None:
        store, self.rank, self.size = next(dist.rendezvous("env://"))
        self.local_rank, self.local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        self.store = dist.PrefixStore("minivit", store)
        dist.init_process_group(backend, store=dist.PrefixStore("torch", store), rank=self.rank, world_size=self.size)

    def share(self, batch: Tensor) -> Tensor:
        return batch.tensor_split(self.size)[self.rank]

    def add_up(self, *tensors: Tensor) -> None:
        with self._listening():
            for tensor in tensors:
                dist.all_reduce(tensor)

    def agree(self, command: Command | None, number: int) -> tuple[Command | None, int]:
        told = torch.tensor([COMMANDS.index(command), number])
        with self._listening():
            dist.broadcast(told, src=0)
        return COMMANDS[int(told[0])], int(told[1])

    def meet(self, where: str) -> None:
        with self._listening():
            self.store.add(where, 1)
            while self.store.add(where, 0) < self.size:
                self._follow()
                time.sleep(MEET_SECONDS)

    def gather(self, what: str, text: str) -> list[str]:
        with self._listening():
            self.store.set(f"{what} {self.rank}", text)
            self.meet(what)
            return [self.store.get(f"{what} {rank}").decode() for rank in range(self.size)]

    @contextmanager
    def telling(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            why = {"command": error.command} if isinstance(error, Interrupted) else {"error": self._sentence(error)}
            with suppress(RuntimeError):  # the store may have gone with the machine that had it
                self.store.compare_set("left", "", json.dumps(why))  # the first that leaves is heard
            raise

    def _sentence(self, error: BaseException) -> str:
        text = str(error) if isinstance(error, MiniViTError) else f"{type(error).__name__}: {error}"
        return (
            text
            if self.is_main
            else f"{text} (Said by process {self.rank + 1} of {self.size}, {socket.gethostname()}.)"
        )

    def _follow(self) -> None:
        """Leaves as the first did, where one has left."""
        if self.store.check(["left"]):
            why: dict[str, Any] = json.loads(self.store.get("left"))
            raise Interrupted(why["command"]) if "command" in why else TrainingError(why["error"])

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Leaves with a sentence where the connection to another process breaks."""
        try:
            yield
        except RuntimeError as error:
            with suppress(RuntimeError):  # the store may be gone too
                self._follow()
            raise TrainingError(
                f"Another of the {self.size} processes of this training ended without a word. "
                "Resume goes on after the last finished epoch, with as many processes as you like."
            ) from error


@contextmanager
def join() -> Iterator[Group]:
    """The group of this process: those that torchrun started with it, or this one alone."""
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    group = Processes()
    with group.telling():
        yield group
        with suppress(Interrupted):
            group.meet("the end")  # so that no connection breaks under those who are still busy
    dist.destroy_process_group()


class Follower(Run):
    """The run as the processes see it that are not the main one: they read it, and writing does nothing."""

    @contextmanager
    def hold(self) -> Iterator[None]:
        yield

    def _nothing(self, *_: Any, **__: Any) -> None:
        """Process 0 does it."""

    set_state = set_environment = append_metrics = save_checkpoint = save_early = save_resume = request = _nothing

    def requested_command(self) -> Command | None:
        return None


def everywhere(group: Group, here: Mapping[str, Any]) -> dict[str, Any]:
    """What `environment.json` says of all processes, of which each knows its own facts `here`."""
    mine = {"host": socket.gethostname(), **{name: here[name] for name in ("device", "gpu", "threads")}}
    return {"world_size": group.size, "devices": [json.loads(one) for one in group.gather("devices", json.dumps(mine))]}

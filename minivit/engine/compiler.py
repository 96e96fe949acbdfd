"""Compiles the train step in another process while training goes on with the plain step.

That process delays no step, a compiler that fails or crashes does no harm, and it can be ended at any time. The
compiled step is a shared library, which takes milliseconds to load.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress

import torch

from minivit.config import TrainConfig
from minivit.engine.compile_step import load, make_request
from minivit.engine.distributed import Group
from minivit.engine.step import TrainStep
from minivit.machine import choose_threads, num_activations
from minivit.processes import end_group, start

MODULE = "minivit.engine.compile_step"
COMPILE_SECONDS = 20  # of CPU time until the compiled step is ready
SAVED_SHARE = 0.7  # of a step's time, for models of at most SAVED_ACTIVATIONS; larger models save less
SAVED_ACTIVATIONS = 270_000  # those of `article`; measured on a CPU for 1, 2 and 4 layers
MIN_SAVED_SECONDS = 10  # less is not worth occupying another core, which may have other work
MIN_EPOCHS = 50  # of a run whose compiling process is started before it is known whether that pays off


class Compiler:
    """Compiles the step of a run, at most once. The end of the block terminates a compilation that is not complete."""

    def __init__(self, config: TrainConfig, log: Callable[[str], None]) -> None:
        self.config = config
        self.log = log
        self.is_decided = config.compile == "off"
        self.reason = ""  # why the step is compiled, as a clause
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Compiler":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self.process:
            end_group(self.process)
        self.process = None

    def prepare(self, device: torch.device, group: Group) -> None:
        """Starts the process that will probably compile, so that it imports Inductor while images are read."""
        is_long = self.config.epochs >= MIN_EPOCHS and not 0 < 60 * self.config.minutes < COMPILE_SECONDS
        may_pay = self.config.compile == "on" or (is_long and saved_share(self.config, device) > 0)
        if may_pay and not self.is_decided and _in_other_process(device, group):
            self.process = start(MODULE, stdin=subprocess.PIPE, output=subprocess.PIPE)

    def record(self, step: TrainStep) -> None:
        """Has the plain step recorded as a CUDA graph and replayed from then on, without a compiler; on a GPU only."""
        if step.device.type == "cuda" and self.config.compile != "off":
            step.record(lambda cause: self.log(f"The step is not a CUDA graph: {cause}.") if cause else None)

    def advance(self, step: TrainStep, seconds_left: float | None) -> None:
        """Starts compiling the step if that pays off, and uses the result once it is there; call it before each epoch.

        `seconds_left` is the remaining time of the run with plain steps, None before the first epoch: then 'auto'
        waits.
        """
        if self.is_decided and self.process and self.process.poll() is not None:
            self.finish(step)
        if self.is_decided or (seconds_left is None and self.config.compile != "on"):
            return
        self.is_decided = True
        is_worthwhile, self.reason = should_compile(self.config, step.device, seconds_left or 0)
        if not is_worthwhile:
            self.log(f"The step is not compiled: {self.reason}.")
            self._end()
        elif _in_other_process(step.device, step.group):
            self.process = self.process or start(MODULE, stdin=subprocess.PIPE, output=subprocess.PIPE)
            assert self.process.stdin
            with suppress(BrokenPipeError):  # it has ended, which `finish` reports
                self.process.stdin.write(json.dumps(make_request(step)).encode() + b"\n")
                self.process.stdin.flush()
        else:
            step.compile(self._report)

    def finish(self, step: TrainStep) -> None:
        """Waits for the compilation, and makes the step use its result."""
        process, self.process = self.process, None
        assert process and process.stdout
        lines = process.stdout.readlines()
        code = process.wait()
        process.communicate()  # closes its files
        result = json.loads(lines[-1]) if lines and code == 0 else {"cause": f"its compilation ended with code {code}"}
        if "library" in result:
            step.compiled = load(result["library"], step.tensors())
        self._report(result.get("cause"))

    def _report(self, cause: str | None) -> None:
        if not cause:
            self.log(f"The step is compiled: {self.reason}.")
        elif self.config.compile == "on":
            self.log(f"The step is not compiled, although the settings enable it: {cause}.")
        else:
            self.log(f"The step is not compiled: {cause}.")


def _in_other_process(device: torch.device, group: Group) -> bool:
    """Whether another process compiles the step: on the CPU, if a single process trains the run."""
    return device.type == "cpu" and group.world_size == 1


def should_compile(config: TrainConfig, device: torch.device, seconds_left: float) -> tuple[bool, str]:
    """Whether to compile the step, and why, as a clause; `seconds_left` is the remaining time with eager steps."""
    saved_seconds = saved_share(config, device) * max(0, seconds_left - COMPILE_SECONDS)
    reason = (
        f"compiling takes about {COMPILE_SECONDS} s, beside the training, and would save about {saved_seconds:.0f} s"
    )
    if config.compile == "on":
        reason = "it is enabled in the settings"
    elif saved_seconds < MIN_SAVED_SECONDS:
        return False, reason
    names = [os.environ.get("CXX"), "g++", "clang++", "c++", "cl"]
    # For CUDA, Triton comes with torch
    has_compiler = device.type == "cuda" or any(shutil.which(name) for name in names if name)
    return (True, reason) if has_compiler else (False, "this machine has no C++ compiler")


def saved_share(config: TrainConfig, device: torch.device) -> float:
    """The share of a step's time that compilation saves, 0..1: launching operations, on a GPU or for a tiny model.

    On a CPU, the convolutions and matrix products of a larger model are not faster compiled than eager.
    """
    if device.type == "cuda":
        return SAVED_SHARE
    is_tiny = choose_threads(config.changed(threads=0)) == 1
    return SAVED_SHARE * min(1, SAVED_ACTIVATIONS / num_activations(config)) if is_tiny else 0

"""The process that trains: `python -m minivit.worker RUN_DIR`. Pages communicate with it through the run folder only.

If the settings have several devices, it starts that many processes of itself, as torchrun does, and waits for them. It
can also be started by torchrun: `torchrun … -m minivit.worker RUN_DIR`, on one machine or on several. Without RUN_DIR
it imports torch and waits for one on its standard input.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from minivit.processes import exit_quickly, limit_spinning, python_path, standby, start_detached, watch

if __name__ == "__main__":
    gc.disable()  # while torch is imported; as in minivit/__main__.py
    limit_spinning()

import torch.distributed as dist

from minivit.engine import Group, init_process_group, train
from minivit.engine.control import interrupted_state
from minivit.engine.events import print_line
from minivit.errors import MiniViTError
from minivit.files import open_log
from minivit.runs import Run

START_POLL_SECONDS = 0.2  # between two reads of the command for a worker that is starting


def start_worker(run: Run) -> None:
    """Trains `run` in a new process that outlives this one; its output goes to `log.txt`."""
    run.require_own()
    run_dir = str(run.path.resolve())
    log = run.path / "log.txt"
    open_log(log).close()  # the standby could not report that it cannot be written
    run.request("resume")
    run.set_state("queued", run.state.epoch, "A worker is starting.")
    stop = partial(_stop_while_starting, run)

    def report_failure() -> None:
        if _is_unclaimed(run):
            reason = (run.log(1) or "Its log is empty.").strip()
            run.set_state("failed", run.state.epoch, f"The worker could not start: {reason}")

    def start() -> None:
        start_detached("minivit.worker", run_dir, log=log, started=stop, ended=report_failure)

    if process := standby.take(run_dir):
        watch(process, stop, lambda: start() if _is_unclaimed(run) else None)  # if it ended before it held the run
    else:
        start()


def _is_unclaimed(run: Run) -> bool:
    """Whether no worker has begun with a run that waits for one."""
    return run.path.is_dir() and run.state.phase == "queued" and not run.is_worker_alive()


def _stop_while_starting(run: Run, process: subprocess.Popen[bytes]) -> None:
    """Ends a worker that is still importing torch, and so reads no commands."""
    while process.poll() is None and _is_unclaimed(run):
        command = run.requested_command()
        if command in ("pause", "stop"):
            process.terminate()
            process.wait()
            run.set_state(*interrupted_state(command, run.state.epoch))
        time.sleep(START_POLL_SECONDS)


def launch(run: Run) -> int:
    """Trains `run` in as many processes on this machine as its settings have devices; returns an exit code as `main`.

    As `torchrun --standalone`: if one process fails, the others are ended too. Raises KeyboardInterrupt on Ctrl-C.
    """
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # of torchrun; the run's log has the errors
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException  # slow to import
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    os.environ["PYTHONPATH"] = python_path()
    with run.hold():
        if run.state.phase != "queued":
            run.request("resume")
        run.set_state("queued", run.state.epoch, f"{run.config.devices} processes are starting.")
    with TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=run.config.devices,
            run_id=run.id,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="127.0.0.1",  # the host name may not resolve
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(folder),
        )
        try:
            elastic_launch(config, sys.executable)("-P", "-u", "-m", "minivit.worker", str(run.path.resolve()))
        except ChildFailedError as error:
            if run.state.phase == "queued":
                run.set_state("failed", run.state.epoch, "The processes could not start. The log has the details.")
            _, failure = error.get_first_failure()
            return 2 if failure.exitcode == 2 else 1
        except SignalException as error:
            if run.state.phase == "queued":
                run.set_state(*interrupted_state("stop", run.state.epoch))
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
    return 0


@contextmanager
def stop_on_signal(run: Run, group: Group) -> Iterator[None]:
    """Turns signals in the block, as from torchrun or at a Slurm job's time limit, into a stop that loses no step.

    The main process requests it for all. In a single process, Ctrl-C still raises KeyboardInterrupt.
    """

    def stop(*_: object) -> None:
        if group.is_main:
            run.request("stop")

    signals = [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)]  # Windows has no SIGHUP
    signals += [signal.SIGINT] if group.world_size > 1 else []
    previous_handlers = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def main(run_dir: str, startup_seconds: float = 0.0) -> int:
    """Trains the run in `run_dir`; 0 if it finished or was interrupted, 2 for a user error, 1 otherwise.

    `startup_seconds` are those that the process took before.
    """
    started_by_torchrun = dist.is_torchelastic_launched()
    try:
        if not started_by_torchrun and (run := Run.open(run_dir)).config.devices > 1:
            return launch(run)
        with init_process_group() as group:
            run = Run.open(run_dir)
            with stop_on_signal(run, group):
                train(run.config, run, group=group, startup_seconds=startup_seconds, may_exit=True)
    except MiniViTError as error:
        if not started_by_torchrun or os.environ["RANK"] == "0":  # rank 0 also reports the errors of the others
            print_line(str(error))
        return 2
    except Exception:
        with suppress(OSError):
            traceback.print_exc()
        return 1
    return 0


def wait_for_run() -> str | None:
    """The folder of the run that the process is given on its standard input, whose log then gets the output.

    None if there is none to come, as the process that would give it has ended.
    """
    line = sys.stdin.readline()
    if not line:
        return None
    run_dir = str(json.loads(line))
    with open_log(Path(run_dir) / "log.txt") as log, open(os.devnull, "rb") as nothing:  # noqa: PTH123
        for stream, file in ((0, nothing), (1, log), (2, log)):
            os.dup2(file.fileno(), stream)
    sys.argv.append(run_dir)  # the command in environment.json
    return run_dir


if __name__ == "__main__":
    gc.enable()
    gc.freeze()
    if len(sys.argv) > 1:
        exit_quickly(main(sys.argv[1], startup_seconds=time.process_time()))  # importing torch takes most of it
    if run_dir := wait_for_run():
        exit_quickly(main(run_dir))

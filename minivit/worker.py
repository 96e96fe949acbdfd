"""The process that trains: `python -m minivit.worker RUN_DIR`. It writes the run folder and talks to nobody.

Where the settings ask for several devices it starts as many processes of itself, as torchrun does, and waits for them.
Started by torchrun it is one of them: `torchrun … -m minivit.worker RUN_DIR`, on one machine or on several.
"""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch.distributed as dist

from minivit.engine import Group, join, train
from minivit.errors import MiniViTError
from minivit.runs import Run

PROJECT = Path(__file__).parent.parent


def start_worker(run: Run) -> None:
    """Trains `run` in a process of its own that outlives whoever started it; its output goes to `log.txt`.

    The worker waits in the queue while other trainings have the device.
    """
    run.request("resume")
    run.set_state("queued", run.state.epoch, "A worker is starting.")
    start_detached("minivit.worker", str(run.path.resolve()), log=run.path / "log.txt")


def start_detached(module: str, *arguments: str, log: Path) -> None:
    """Starts `python -m module arguments…` as a process that outlives its starter; its output is added to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-u", "-m", module, *arguments],
            env={**os.environ, "PYTHONPATH": _python_path()},  # and the same cwd, as MINIVIT_DATA may be relative to it
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie


def launch(run: Run) -> int:
    """Trains `run` in as many processes of this machine as its settings have devices; returns as `main`.

    As `torchrun --standalone`: where one ends by an error, the others are ended too. KeyboardInterrupt where somebody
    stopped it so.
    """
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # of torchrun; the run's log says what matters
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException  # slow to import
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    os.environ["PYTHONPATH"] = _python_path()
    with run.hold():
        if run.state.phase != "queued":
            run.request("resume")
        run.set_state("queued", run.state.epoch, f"{run.config.devices} processes are starting.")
    with TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=run.config.devices, run_id=run.id, rdzv_backend="c10d",
            rdzv_endpoint="localhost:0", max_restarts=0, logs_specs=DefaultLogsSpecs(folder),
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-P", "-u", "-m", "minivit.worker", str(run.path.resolve()))
        except ChildFailedError as error:
            if run.state.phase == "queued":
                run.set_state("failed", run.state.epoch, "The processes could not start. The log says why.")
            _, failure = error.get_first_failure()
            return 2 if failure.exitcode == 2 else 1
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
    return 0


@contextmanager
def stopping_in_order(run: Run, group: Group) -> Iterator[None]:
    """A signal to end, as from torchrun or at the end of a Slurm job's time, is a command to stop: no step is lost.

    The main process hears it for all. A single process in the foreground is still stopped by the keyboard at once.
    """

    def stop(*_: object) -> None:
        if group.is_main:
            run.request("stop")

    signals = (signal.SIGTERM, signal.SIGINT) if group.size > 1 else (signal.SIGTERM,)
    before = {one: signal.signal(one, stop) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def main(run_dir: str) -> int:
    """Trains the run in `run_dir`; 0 when it ended well or as asked, 2 for what a person can mend, 1 otherwise."""
    several = dist.is_torchelastic_launched()
    try:
        if not several and (run := Run.open(run_dir)).config.devices > 1:
            return launch(run)
        with join() as group:
            run = Run.open(run_dir)
            with stopping_in_order(run, group):
                train(run.config, run, group=group)
    except MiniViTError as error:
        if not several or os.environ["RANK"] == "0":  # which has heard what ended another process
            print(error)
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _python_path() -> str:
    """For processes that import this package, wherever they are started."""
    return os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

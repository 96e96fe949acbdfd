"""The process that trains: `python -m minivit.worker RUN_DIR`. It writes the run folder and talks to nobody."""

import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path

from minivit.engine import join, train
from minivit.errors import MiniViTError
from minivit.runs import Run

PROJECT = Path(__file__).parent.parent


def start_worker(run: Run) -> None:
    """Trains `run` in a process of its own that outlives whoever started it; its output goes to `log.txt`.

    The worker waits in the queue while other trainings have the device.
    """
    run.ask("resume")
    run.set_state("queued", run.state.epoch, "A worker is starting.")
    start_detached("minivit.worker", str(run.path.resolve()), log=run.path / "log.txt")


def start_detached(module: str, *arguments: str, log: Path) -> None:
    """Starts `python -m module arguments…` as a process that outlives its starter; its output is added to `log`."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-u", "-m", module, *arguments],
            env={**os.environ, "PYTHONPATH": path},  # and the starter's cwd, as MINIVIT_DATA may be relative to it
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie


def main(run_dir: str) -> int:
    """Trains the run in `run_dir`; 0 when it ended well or as asked, 2 for what a person can mend, 1 otherwise."""
    try:
        with join() as group:
            run = Run.open(run_dir)
            train(run.config, run, group=group)
    except MiniViTError as error:
        print(error)
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""The command track: a run's metrics into TensorBoard or MLflow, once or while it is trained."""

import argparse
import time
from contextlib import ExitStack, closing

from minivit.cli.options import RUN_DIR, Commands
from minivit.errors import ConfigError
from minivit.export.tracking import MLflow, TensorBoard, Tracker
from minivit.runs import Run

POLL_SECONDS = 2


def add_commands(commands: Commands) -> None:
    parser = commands.add_parser("track", parents=[RUN_DIR], help="write a run's metrics for TensorBoard or MLflow")
    parser.add_argument("--tensorboard", metavar="DIR", help="folder for event files, in which the run gets its own")
    parser.add_argument("--mlflow", metavar="URI", help="tracking server, or a store such as sqlite:///FILE")
    parser.add_argument("--follow", action="store_true", help="continue until the training ends")
    parser.set_defaults(command=_track)


def _track(args: argparse.Namespace) -> None:
    if not (args.tensorboard or args.mlflow):
        raise ConfigError("There is nowhere to write the metrics. Pass --tensorboard DIR or --mlflow URI.")
    run = Run.open(args.run_dir)
    with ExitStack() as stack:
        trackers: list[Tracker] = []
        if args.tensorboard:
            trackers.append(stack.enter_context(closing(TensorBoard(run, args.tensorboard))))
        if args.mlflow:
            trackers.append(stack.enter_context(closing(MLflow(run, args.mlflow))))
        while True:
            is_active = run.state.active  # before the rows, so that the last ones are not missed
            rows = run.metrics()
            for tracker in trackers:
                if num_new := tracker.log(rows):
                    print(f"{type(tracker).__name__}: {num_new} new epochs", flush=True)
            if not (args.follow and is_active):
                return
            time.sleep(POLL_SECONDS)

"""Commands that train one run: train, create and resume."""

import argparse
from contextlib import closing

from minivit.cli.options import PRESET, RUN_DIR, RUNS_DIR, Commands, ProgressBar, add_settings, read_config
from minivit.config import settings
from minivit.engine import Events, train
from minivit.engine.distributed import SINGLE_PROCESS
from minivit.machine import pick_device
from minivit.runs import Run, extend, request_learning_rate
from minivit.worker import launch, stop_on_signal


def add_commands(commands: Commands) -> None:
    for name, command, help in (
        ("train", _train, "train a model in the foreground"),
        ("create", _create, "create a run folder, to be trained with torchrun"),
    ):
        parser = commands.add_parser(name, parents=[PRESET, RUNS_DIR], help=help)
        add_settings(parser, settings())
        parser.set_defaults(command=command)

    help = "continue an interrupted run, or train a finished one for more epochs"
    parser = commands.add_parser("resume", parents=[RUN_DIR], help=help)
    parser.add_argument("--devices", type=int, metavar="INT", help="processes that train together (default: as before)")
    parser.add_argument("--epochs", type=int, metavar="INT", help="new total number of epochs, also for a finished run")
    parser.add_argument("--lr", type=float, metavar="FLOAT", help="new peak learning rate from the next epoch on")
    parser.set_defaults(command=_resume)


def _train(args: argparse.Namespace) -> int:
    return _train_run(_create_run(args), args.startup_seconds)


def _create(args: argparse.Namespace) -> None:
    run = _create_run(args)
    run.set_state("stopped", message="Created but not started. Resume starts it.")
    print(run.path)


def _resume(args: argparse.Namespace) -> int:
    run = Run.open(args.run_dir)
    passed = {name: getattr(args, name) for name in ("lr", "devices") if getattr(args, name) is not None}
    run.config.changed(**passed)  # raises for a value out of bounds, before anything is written
    if args.epochs is not None:
        extend(run, args.epochs)
    if args.lr is not None and not run.is_worker_alive():
        request_learning_rate(run, args.lr)
    if args.devices is not None:
        run.config = run.config.changed(devices=args.devices)
    return _train_run(run, args.startup_seconds)


def _create_run(args: argparse.Namespace) -> Run:
    config = read_config(args)
    pick_device(config.device, local_world_size=config.devices)
    return Run.create(config, args.runs_dir)


def _train_run(run: Run, startup_seconds: float) -> int:
    """Trains to the end and prints the run folder last."""
    if run.config.devices > 1:
        try:
            return launch(run)
        finally:
            print(run.path)

    def log(line: str) -> None:
        bar.close()
        print(line, flush=True)

    try:
        with closing(ProgressBar()) as bar, stop_on_signal(run, SINGLE_PROCESS):
            train(run.config, run, Events(log=log, progress=bar), startup_seconds=startup_seconds)
    finally:
        print(run.path)
    return 0

"""Commands that train: train, create and resume for one run; sweep for many."""

import argparse
import sys
from contextlib import closing

from minivit.cli.options import (
    PRESET,
    RUN_DIR,
    RUNS_DIR,
    Commands,
    ProgressBar,
    add_settings,
    passed_settings,
    read_config,
)
from minivit.config import settings
from minivit.engine import Events, train
from minivit.engine.distributed import SINGLE_PROCESS
from minivit.errors import ConfigError, SweepError
from minivit.machine import pick_device
from minivit.runs import Run, extend, request_learning_rate
from minivit.sweep import (
    Sweep,
    SweepConfig,
    Vary,
    as_completed,
    best_trial,
    find_sweep,
    format_params,
    list_sweeps,
    selection_note,
    start_workers,
    sweep_settings,
)
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

    help = "train many models, as a grid or a search over the settings"
    parser = commands.add_parser("sweep", parents=[PRESET, RUNS_DIR], help=help)
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="a setting to vary: depth=1,2,4 or lr=1e-4..1e-2, followed by :log for a logarithmic scale",
    )
    parser.add_argument("--name", default="", help="name of the study; an existing one is continued or joined")
    parser.add_argument(
        "--storage",
        default="",
        metavar="URL",
        help="storage that machines share: journal:///FOLDER/FILE on a shared disk, or the URL of a database",
    )
    parser.add_argument("--retry", action="store_true", help="run the failed trials of the study again")
    add_settings(parser, (*sweep_settings(), *settings()))
    parser.set_defaults(command=_sweep)


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


MACHINE_SETTINGS = {"data_dir", "device", "threads", "workers"}  # which a machine that joins a study may set


def _sweep(args: argparse.Namespace) -> None:
    sweep = _open_sweep(args)
    if args.retry:
        print(f"{sweep.retry()} failed trials are queued again", flush=True)
    start_workers(sweep)
    try:
        for trial in as_completed(sweep):
            result = trial.message if trial.accuracy is None else f"test accuracy {trial.accuracy:.4f} {trial.message}"
            print(f"trial {trial.number} {trial.phase}: {format_params(trial.params)}: {result}".rstrip(), flush=True)
    except KeyboardInterrupt:
        sweep.request("stop")
        print(f"\nStopping. `python -m minivit sweep --name {sweep.id}` continues.", file=sys.stderr)
        raise SystemExit(130) from None
    if sweep.problem:
        raise SweepError(sweep.problem)
    best = best_trial(sweep.trials())
    if best is None:
        raise SweepError(f"No trial finished. {sweep.path / 'log.txt'} contains the reason.")
    print(f"best: trial {best.number}, test accuracy {best.accuracy:.4f}, {format_params(best.params)}")
    if note := selection_note(sweep.trials()):
        print(note)
    print(sweep.runs_dir / best.run_id if best.is_local else sweep.path)


def _open_sweep(args: argparse.Namespace) -> Sweep:
    """A new sweep if there is something to vary, else the existing one of that name, on this machine or shared."""
    own = passed_settings(args, sweep_settings())
    if args.vary:
        base = read_config(args)
        config = SweepConfig(base=base, vary=tuple(Vary.parse(text) for text in args.vary), **own)
        return Sweep.create(config, args.runs_dir, args.name, args.storage)
    if not args.name:
        raise ConfigError("Pass a setting to vary, as in --vary lr=1e-4..1e-2:log, or the name of a sweep to continue.")
    arguments = passed_settings(args, settings())
    joins = args.storage and args.name not in {sweep.id for sweep in list_sweeps(args.runs_dir)}
    fixed = sorted({*arguments, *own} - (MACHINE_SETTINGS if joins else set()))
    if fixed:
        raise ConfigError(f"A sweep keeps its settings. Leave out {', '.join(fixed)}, or pass a setting to vary.")
    if joins:
        return Sweep.join(args.name, args.storage, args.runs_dir, **arguments, **own)
    return find_sweep(args.name, args.runs_dir)

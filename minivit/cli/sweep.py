"""The command that trains many runs: sweep."""

import argparse
import sys

from minivit.cli.options import PRESET, RUNS_DIR, Commands, add_settings, passed_settings, read_config
from minivit.config import settings
from minivit.errors import ConfigError, SweepError
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

MACHINE_SETTINGS = {"data_dir", "device", "threads", "workers"}  # which a machine that joins a study may set


def add_commands(commands: Commands) -> None:
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

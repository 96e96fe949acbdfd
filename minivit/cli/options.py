"""What the commands share: options generated from the settings, one-sentence error messages, the progress bar."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from minivit import data
from minivit.config import PRESETS, Setting, TrainConfig, preset, settings

Commands = Any  # argparse's private class of subparsers


class Parser(argparse.ArgumentParser):
    """Reports an error in one sentence, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"minivit: {message[:1].upper()}{message[1:]}. See {self.prog} --help.\n")


class ProgressBar:
    """A `Progress` in the terminal: one bar per activity. Files and pipes get none."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.activity = ""

    def __call__(self, activity: str, done: int, total: int) -> None:
        if self.bar is None or self.activity != activity:
            self.close()
            self.activity = activity
            self.bar = tqdm(desc=activity, total=total, leave=False, dynamic_ncols=True, unit_scale=True, disable=None)
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _parent(*names: str, **options: Any) -> argparse.ArgumentParser:
    """An argument that several commands share, as a parent of their parsers."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, **options)
    return parser


RUN_DIR = _parent("run_dir", type=Path, metavar="RUN_DIR")
EPOCH = _parent("--epoch", type=int, help="a saved epoch (default: the newest)")
PRESET = _parent("--preset", choices=PRESETS, default="article", help="settings to start from")
RUNS_DIR = _parent("--runs-dir", type=Path, help="folder for runs (default: MINIVIT_RUNS or runs/)")


def add_settings(parser: argparse.ArgumentParser, settings: Iterable[Setting]) -> None:
    """An option for every setting; those that are not passed are absent from the result."""
    for setting in settings:
        flag = "--" + setting.name.replace("_", "-")
        help = setting.help.replace("%", "%%") + (f" [{setting.unit}]" if setting.unit else "")
        options: dict[str, Any] = {"dest": setting.name, "default": argparse.SUPPRESS, "help": help}
        if setting.kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        elif setting.kind is tuple:
            options["help"] += f" Write {flag}=-NAME for a name that starts with a dash; {flag} may be repeated."
            parser.add_argument(flag, nargs="+", action="extend", metavar="NAME", **options)
        elif setting.choices:
            parser.add_argument(flag, choices=setting.choices, type=setting.kind, **options)
        else:
            parser.add_argument(flag, type=setting.kind, metavar=setting.kind.__name__.upper(), **options)


def passed_settings(args: argparse.Namespace, settings: Iterable[Setting]) -> dict[str, Any]:
    return {setting.name: vars(args)[setting.name] for setting in settings if setting.name in vars(args)}


def read_config(args: argparse.Namespace) -> TrainConfig:
    """The preset with the settings that were passed, and all classes if the data set lacks its own; checks the data."""
    arguments = passed_settings(args, settings())
    config = preset(args.preset).changed(**arguments)
    if "classes" not in arguments:
        config = data.select_classes(config)
    data.check(config)
    return config

"""The entry point: parses the command line, runs one command, and turns errors into exit codes."""

import argparse
import io
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

from minivit.cli.options import Parser
from minivit.errors import MiniViTError

GROUPS = {  # modules and their commands, in the order of --help
    "training": ("train", "create", "resume"),
    "sweep": ("sweep",),
    "runs": ("runs", "predict", "trust", "export", "import", "track"),
    "machine": ("bench", "download"),
}


def main(arguments: Sequence[str] | None = None, startup_seconds: float = 0.0) -> int:
    """Runs one command. Exit code: 0 success, 2 a user's error in one sentence, 130 interrupted, 141 closed pipe.

    `startup_seconds` are those that the process took before.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console may lack a letter of a class name or a path
    try:
        try:
            return _run(arguments, startup_seconds)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # as in `| head`; without this the interpreter would flush again at exit and fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as after SIGPIPE


def _run(arguments: Sequence[str] | None, startup_seconds: float) -> int:
    parser = Parser(prog="python -m minivit", description="Train a small ViT and see what it attends to.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in _groups(sys.argv[1:] if arguments is None else arguments):
        import_module(f"minivit.cli.{group}").add_commands(commands)
    args = parser.parse_args(arguments, argparse.Namespace(startup_seconds=startup_seconds))
    try:
        return args.command(args) or 0
    except MiniViTError as error:
        print(f"minivit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Finished epochs are kept; `python -m minivit resume RUN_DIR` continues.", file=sys.stderr)
        return 130


def _groups(arguments: Sequence[str]) -> Iterable[str]:
    """The module of the requested command, as importing all takes 0.2 s; all of them for --help and errors."""
    return [group for group, commands in GROUPS.items() if arguments and arguments[0] in commands] or GROUPS

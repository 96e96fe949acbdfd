"""The entry point: parses the command line, runs one command, and turns errors into exit codes."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from minivit.cli import machine, runs, training
from minivit.cli.options import Parser
from minivit.errors import MiniViTError


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
    for group in (training, runs, machine):
        group.add_commands(commands)
    args = parser.parse_args(arguments, argparse.Namespace(startup_seconds=startup_seconds))
    try:
        return args.command(args) or 0
    except MiniViTError as error:
        print(f"minivit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Finished epochs are kept; `python -m minivit resume RUN_DIR` continues.", file=sys.stderr)
        return 130

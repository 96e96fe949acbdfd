"""The command line: `python -m minivit COMMAND`."""

from minivit.cli.commands import main

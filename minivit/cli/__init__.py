"""The command line."""

from minivit.cli.commands import main

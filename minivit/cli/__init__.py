"""The command line."""

from minivit.cli.main import main

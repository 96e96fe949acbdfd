"""`python -m minivit`: the command line."""

import sys
import time

started = time.monotonic()  # the start of a run's time limit

from minivit.cli import main  # noqa: E402, importing torch takes seconds

sys.exit(main(startup_seconds=time.monotonic() - started))

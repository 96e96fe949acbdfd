"""`python -m minivit`: the command line."""

import sys
import time

started = time.monotonic()  # a training that is given a time counts from here

from minivit.cli import main  # noqa: E402, importing torch takes seconds

sys.exit(main(startup_seconds=time.monotonic() - started))

"""`python -m minivit`: the command line."""

import gc
import time

from minivit.processes import exit_quickly, limit_spinning

started = time.monotonic()  # the start of a run's time limit
gc.disable()  # examining what torch creates while it is imported takes a quarter of the time

limit_spinning()
from minivit.cli import main  # noqa: E402, importing torch takes seconds

gc.enable()
gc.freeze()  # what was imported is not garbage: later collections, as at exit, skip it

exit_quickly(main(startup_seconds=time.monotonic() - started))

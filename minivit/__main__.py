"""`python -m minivit`: the command line."""

import sys
import time

from minivit import IMPORTED
from minivit.cli import main

sys.exit(main(startup_seconds=time.monotonic() - IMPORTED))

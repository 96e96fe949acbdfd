"""`python -m minivit`: the command line."""

import sys

from minivit.cli import main

sys.exit(main())

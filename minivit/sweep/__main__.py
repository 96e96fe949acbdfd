"""One worker as a process: `python -m minivit.sweep SWEEP_DIR WORKER`."""

import sys

from minivit.sweep.workers import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))

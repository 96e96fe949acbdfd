"""`python -m tests.bench [PART …]`: what the dashboard costs, in a real browser, on a machine that does nothing else.

`--soak MINUTES` has 50 viewers watch a training for so long instead.
"""

import argparse

from minivit.bench import table
from tests.bench import dashboard, large, many_runs, soak

PARTS = {"dashboard": dashboard.measure, "large": large.measure, "runs": many_runs.measure}

parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
parser.add_argument("--soak", type=float, metavar="MINUTES", help="50 viewers of a training for so long")
arguments = parser.parse_args()
if unknown := [part for part in arguments.parts if part not in PARTS]:
    parser.error(f"{unknown[0]!r} is not one of {', '.join(PARTS)}.")
if arguments.soak:
    print(table(list(soak.measure(arguments.soak))))
else:
    print(table([measurement for part in arguments.parts or PARTS for measurement in PARTS[part]()]))

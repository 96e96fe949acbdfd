"""`python -m tests.bench`: what the dashboard costs, in a real browser, on a machine that does nothing else."""

from minivit.bench import table
from tests.bench import dashboard, large

print(table([*dashboard.measure(), *large.measure()]))

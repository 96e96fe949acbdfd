"""`python -m tests.bench`: what the dashboard costs, in a real browser. The machine should do nothing else meanwhile."""

from minivit.bench import table
from tests.bench import dashboard

print(table(dashboard.measure()))

"""What this machine gives: `python -m minivit bench`. It prints a table and can write JSON; nothing here is a test.

reference   the notebook's experiment with the notebook's operations
training    ours beside it, in turns
together    several processes: one training shared, and a sweep's workers side by side
"""

from minivit.bench.result import Figure, table, write_json

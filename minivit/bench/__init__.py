"""The speed of this machine: `python -m minivit bench`. It prints a table and can write JSON.

reference   the notebook's experiment with the notebook's operations
training    our training against it, in turns
together    several processes: one training in two processes, and parallel workers of a sweep
"""

from minivit.bench.result import Figure, table, write_json

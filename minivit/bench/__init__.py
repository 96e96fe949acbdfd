"""The speed of this machine: `python -m minivit bench`. It prints a table and can write JSON.

reference     the notebook's experiment with the notebook's operations
measurements  our training against it, several processes against one
result        a measured figure, a table of many
"""

from minivit.bench.result import Figure, table, write_json

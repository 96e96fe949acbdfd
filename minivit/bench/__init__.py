"""Training speed of this machine: `python -m minivit bench` prints a table and can write JSON.

reference     the notebook's experiment with the notebook's operations
measurements  our training against it, several processes against one; the results as a table or as JSON
"""

from minivit.bench.measurements import Measurement, table, write_json

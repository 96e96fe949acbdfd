"""Training speed of this machine: `python -m minivit bench` prints a table and can write JSON.

reference     the notebook's experiment with the notebook's operations
measurements  our training against it, several processes against one; the results as a table or as JSON
load          training next to a busy process
device_checks what has to be the same on a GPU and on the CPU
processes     one of two processes that train together for such a check
gpu           the checks, speed, memory and accuracy on a GPU
"""

from minivit.bench.measurements import Measurement, table, write_json

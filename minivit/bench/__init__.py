"""Training speed of this machine: `python -m minivit bench` prints a table and can write JSON.

reference     the notebook's experiment with the notebook's operations
measurements  our training against it, several processes against one, next to a busy one; the results as a table or JSON
device_checks what has to be the same on a GPU and on the CPU
gpu           the checks, speed, memory and accuracy on a GPU
"""

from minivit.bench.measurements import Measurement, table, write_json

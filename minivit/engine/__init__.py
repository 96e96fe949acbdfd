"""Training: a config and a run folder in, metrics and checkpoints out.

control      commands from the run folder, progress, and how the folder is left at the end
optim        flat parameters and the optimizers that step them
schedule     the learning rate
whitening    patches decorrelated while the model learns
step         what one batch changes
compilation  a step compiled, or plain where that fails
distributed  several processes that train together
training     the state of one training
loop         train(config, run)
estimate     how long it will take on this machine
"""

from minivit.engine.control import Glance, Say
from minivit.engine.distributed import Group, Interrupted, join
from minivit.engine.estimate import estimate_seconds
from minivit.engine.loop import train
from minivit.engine.optim import FlatParameters, learning_rate, make_optimizer
from minivit.engine.step import Step
from minivit.engine.training import Training, derive_seed

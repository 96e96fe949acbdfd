"""Training: a config and a run folder in, metrics and checkpoints out.

loop           train(config, run): start here
events         callbacks of a run, and Interrupted
control        commands, device, and the final state of the run folder
threads        CPU threads that follow the load of the machine
training       the training state: model, data, position
initial        the initial model, and the weights of the classes
step           one optimizer step
schedule       learning rate and the other scalars of a step
optim          flat parameters and optimizers
step_graph     the step as one graph, by Inductor or CUDA; the plain step if that fails
compiler       whether to compile the step; has it compiled while training goes on
compile_step   the process that compiles it
compile_errors why compiling failed
stopping       when a run ends before its last epoch
whitening      patch whitening
distributed    several processes that train one run
estimate       how long a run will take on this machine
"""

from minivit.engine.distributed import Group, init_process_group
from minivit.engine.estimate import estimate_seconds, seconds_until_done, speed_settings
from minivit.engine.events import SILENT, Events, Interrupted
from minivit.engine.loop import train
from minivit.engine.optim import FlatParameters, make_optimizer
from minivit.engine.schedule import derive_seed
from minivit.engine.step import TrainStep
from minivit.engine.training import Training

"""The run folder, which holds everything about one training."""

from minivit.runs.checkpoint import Checkpoint
from minivit.runs.listing import find_run, group_by_sweep, list_runs
from minivit.runs.run import Run, default_runs_dir
from minivit.runs.state import Command, Phase, State

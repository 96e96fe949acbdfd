"""The run folder: everything that is known of one training."""

from minivit.runs.checkpoint import Checkpoint
from minivit.runs.run import (
    ACTIVE,
    Command,
    Phase,
    Run,
    State,
    default_runs_dir,
    find_run,
    group_by_sweep,
    list_runs,
)

"""The run folder: everything that is known of one training."""

from minivit.runs.run import (
    ACTIVE,
    Checkpoint,
    Command,
    Phase,
    Run,
    State,
    default_runs_dir,
    find_run,
    fold,
    list_runs,
)

"""The run folder, which contains everything about one training run."""

from minivit.runs.checkpoint import Checkpoint
from minivit.runs.editing import (
    adopt_learning_rate,
    annotate,
    extend,
    read_annotations,
    request_learning_rate,
    requested_learning_rate,
)
from minivit.runs.files import EXAMPLE, default_runs_dir
from minivit.runs.initial import keeps_head, load_initial
from minivit.runs.listing import (
    delete_unreadable,
    find_damage,
    find_run,
    group_by_sweep,
    iterate_runs,
    list_runs,
    runs_to_open,
    unreadable_runs,
    unused_seeds,
)
from minivit.runs.run import Run
from minivit.runs.schema import FINISHED, Command, Phase, State
from minivit.runs.search import search
from minivit.runs.summary import best_epoch, creation_time, run_title, summarize

"""Sweeps: many small models trained side by side, as a grid or a search over the settings, with Optuna.

space       what is varied, and the settings of a sweep
storage     where the study is: a file of the sweep's own, or a URL that machines share
study       the sweep folder and what is known of its trials
work        the workers: python -m minivit.sweep SWEEP_DIR WORKER
"""

from minivit.sweep.space import SweepConfig, Vary, sweep_settings, variable
from minivit.sweep.storage import without_password
from minivit.sweep.study import Sweep, TrialInfo, best_trial, find_sweep, list_sweeps
from minivit.sweep.workers import as_completed, format_params, start_workers

"""Sweeps: many small models trained in parallel, as a grid or a search over the settings, with Optuna."""

from minivit.sweep.space import SweepConfig, Vary, example_values, sweep_settings, variable_settings
from minivit.sweep.study import TrialInfo, best_trial, format_params, selection_note, without_password
from minivit.sweep.sweep import Sweep, find_sweep, list_sweeps
from minivit.sweep.workers import as_completed, start_workers

"""The part of the form that only Train has: the settings of one run."""

from streamlit.delta_generator import DeltaGenerator

from minivit.config import TrainConfig
from minivit.inference import num_parameters
from pages.parts.runs.status import start_run
from pages.parts.settings.fields import pick_settings
from pages.parts.settings.form import Plan


def pick_training_plan(base: TrainConfig, basics: DeltaGenerator) -> Plan:
    """A run with the settings of the widgets."""
    config = pick_settings(base, basics)
    return Plan([config], f"**{num_parameters(config.model):,}** parameters", start=lambda: start_run(config))

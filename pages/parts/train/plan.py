"""The run that the form on Train describes."""

from minivit.config import TrainConfig
from minivit.inference import num_parameters
from pages.parts.runs.status import start_run
from pages.parts.settings.fields import pick_settings
from pages.parts.settings.form import Plan
from pages.parts.shell import cache


def pick_training(base: TrainConfig) -> Plan:
    """A run with the settings of the widgets."""
    config = pick_settings(base)
    num_train = len(cache.split(config)[0])
    size = f"**{num_parameters(config.model):,}** parameters · **{num_train:,}** training images"
    return Plan([config], size, start=lambda: start_run(config))

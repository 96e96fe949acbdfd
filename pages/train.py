"""Train: choose settings, start, and watch the curves and the attention of the run."""

from streamlit.delta_generator import DeltaGenerator

from minivit.config import TrainConfig
from minivit.inference import num_parameters
from pages.parts.runs.status import start_run
from pages.parts.settings.fields import pick_settings
from pages.parts.settings.form import Plan, start_form
from pages.parts.shell.frame import frame, show_errors, side_by_side
from pages.parts.tour.training import adjust_for_tour, fill_in_form
from pages.parts.train.live import live_run, pick_live_run


def pick_training(base: TrainConfig, basics: DeltaGenerator) -> Plan:
    """A run with the settings of the widgets."""
    config = pick_settings(base, basics)
    return Plan([config], f"**{num_parameters(config.model):,}** parameters", start=lambda: start_run(config))


with frame(
    "Train",
    "Choose images and settings, start, and watch the model learn. Training continues if you close this page.",
):
    form, live = side_by_side(pictures=2.6)
    with form:
        fill_in_form()
        start_form("Start training", pick_training, adjust_for_tour)
    with live, show_errors():
        live_run(pick_live_run())

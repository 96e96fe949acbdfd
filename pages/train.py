"""Train: choose settings, start, and watch the curves and the attention of the run."""

from minivit.config import TrainConfig
from minivit.model import num_parameters
from pages.parts.runs.status import start_run
from pages.parts.settings.fields import pick_settings
from pages.parts.settings.form import Plan, start_form
from pages.parts.shell import cache
from pages.parts.shell.frame import frame, show_errors, side_by_side
from pages.parts.train.live import live_run, pick_live_run


def pick_training(base: TrainConfig) -> Plan:
    """One training of the settings that the widgets have."""
    config = pick_settings(base)
    num_train = len(cache.split(config)[0])
    size = f"**{num_parameters(config.model):,}** parameters · **{num_train:,}** training images"
    return Plan(config, size, start=lambda: start_run(config))


with frame(
    "Train",
    "Choose images and settings, start, and watch the model learn. Training continues if you close this page.",
):
    form, live = side_by_side(pictures=2.6)
    with form:
        start_form("Start training", pick_training)
    with live, show_errors():
        live_run(pick_live_run())

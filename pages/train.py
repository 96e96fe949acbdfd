"""Train: choose settings, start, and watch the curves and the attention of the run."""

from pages.parts.runs.status import prepare_worker
from pages.parts.settings.form import start_form
from pages.parts.shell.frame import frame, show_errors, side_by_side
from pages.parts.train.form import adjust_for_tour, fill_in_form, pick_training_plan
from pages.parts.train.live import live_run, pick_live_run

with frame(
    "Train",
    "Choose images and settings, start, and watch the model learn. Training continues if you close this page.",
):
    form, live = side_by_side(pictures=2.6)
    prepare_worker()
    with form:
        fill_in_form()
        start_form("Start training", pick_training_plan, adjust_for_tour)
    with live, show_errors():
        live_run(pick_live_run())

"""Sweeps: train many small models in parallel, as a grid or a search, and compare their settings and accuracies."""

from pages.parts.settings.form import start_form
from pages.parts.shell.frame import fragment, frame, show_errors, side_by_side
from pages.parts.sweeps.form import pick_sweep_plan
from pages.parts.sweeps.live import live_sweep, pick_sweep

with frame(
    "Sweeps",
    "Train many small models in parallel, as a grid or a search, and see which settings lead to which accuracy.",
):
    form, live = side_by_side(pictures=2.6)
    with form:
        start_form("Start sweep", pick_sweep_plan)
    with live, show_errors():
        sweep = pick_sweep()
        fragment(lambda: live_sweep(sweep), every=2 if sweep.active else None)

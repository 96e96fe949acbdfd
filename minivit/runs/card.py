"""A run as a notebook shows it: state, accuracy with its interval and curve, and the settings that were changed."""

from pathlib import Path

from minivit.config import TrainConfig
from minivit.runs.comparison import different_settings, format_value
from minivit.runs.listing import find_damage
from minivit.runs.run import Run
from minivit.runs.summary import baselines, run_title, summarize
from minivit.stats import wilson

WIDTH, HEIGHT = 240, 60  # of the curve in card.html, whose y axis is 0 to 100%


def card_html(run: Run) -> str:
    """The run as HTML without scripts; all text is escaped, and unreadable files are named."""
    from jinja2 import Template  # takes a while, and only notebooks need it

    state = run.state
    summary = summarize(run)
    num_test = run.environment.get("num_test")
    accuracy = summary.test_acc
    accuracies = summary.accuracies
    step = WIDTH / max(1, len(accuracies) - 1)
    points = [f"{step * index:.1f},{HEIGHT * (1 - share):.1f}" for index, share in enumerate(accuracies)]
    changed = [setting for setting in different_settings([TrainConfig(), run.config]) if setting.group != "machine"]
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"), autoescape=True)
    return template.render(
        title=run_title(run),
        phase=state.phase,
        epoch=run.config.epoch_title(state.epoch),
        accuracy=accuracy,
        interval=wilson(round(accuracy * num_test), num_test) if accuracy is not None and num_test else None,
        baselines=baselines(run),
        points=" ".join(points) if len(points) > 1 else "",
        message="" if state.phase == "done" else state.message,
        damage=find_damage(run, weights=True),
        changed=[(setting.name, format_value(setting.value(run.config))) for setting in changed],
        path=run.path,
    )

"""The result of a finished run, and what to do next."""

import streamlit as st

from minivit.runs import Run, best_epoch
from minivit.stats import wilson
from pages.parts.runs.status import continue_run
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import show_errors
from pages.parts.shell.glossary import explain
from pages.parts.shell.wording import duration

NUM_MORE = 10  # epochs
LINKS = {
    "See mistakes": ("predictions", {"result": "incorrect"}),
    "See attention": ("attention", {}),
    "Compare with untrained": ("compare", {}),
}


def result_card(run: Run) -> None:
    """Test accuracy with its interval, the best epoch and the time, and the next steps."""
    with st.container(border=True, gap="small"):
        if rows := run.metrics():
            _result(rows, best_epoch(run), run.environment.get("num_test"))
        with st.container(horizontal=True, gap="small", key="train_next", vertical_alignment="center"), show_errors():
            for label, (page, params) in LINKS.items():
                st.page_link(f"pages/{page}.py", label=label, query_params={"run": run.id, **params})
            help = None if run.config.schedule == "constant" else "The schedule is recomputed for the new total."
            can_continue = may_change() and not (run.is_example or run.config.minutes)
            if can_continue and st.button(f"Train {NUM_MORE} more epochs", key="train_more", help=help):
                continue_run(run, run.config.epochs + NUM_MORE)


def _result(rows: list[dict], best: int | None, num_test: int | None) -> None:
    accuracy = rows[-1]["test_acc"]
    parts = [f"**{accuracy:.1%}** test accuracy"]
    if num_test:
        low, high = wilson(round(accuracy * num_test), num_test)
        parts.append(f"95% interval {low:.1%} to {high:.1%} (Wilson)")
    parts += [f"best epoch {best}: {row['test_acc']:.1%}" for row in rows if row["epoch"] == best]
    parts.append(duration(sum((row["train_seconds"] or 0) + row["eval_seconds"] for row in rows)))
    st.markdown(" · ".join(parts), help=explain("Wilson interval"))

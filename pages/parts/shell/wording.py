"""Titles of sweeps and of several runs, durations as text, and escaping of untrusted text."""

import re
import string
from collections import Counter
from collections.abc import Sequence

from minivit.runs import Run, creation_time, group_by_sweep, run_title


def escape_markdown(text: str) -> str:
    """Escapes untrusted text, so that Markdown shows it literally."""
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", text)


def sweep_title(sweep: str) -> str:
    """A sweep's own name, or what it varies, and when it was created."""
    created = creation_time(sweep)
    return f"sweep {sweep}" if created == sweep else f"sweep of {sweep[16:].replace('-', ', ')}, {created}"


def group_title(runs: Sequence[Run]) -> str:
    """One line for one run, or for all runs of a sweep."""
    return run_title(runs[0]) if len(runs) == 1 else f"{sweep_title(runs[0].sweep)} · {len(runs)} runs"


def run_options(runs: Sequence[Run], *expanded: str) -> dict[str, str]:
    """Titles by run id for a picker: a sweep is one line, which selects its newest run.

    The runs of `expanded` sweeps have one line each.
    """
    titles: dict[str, str] = {}
    for group in group_by_sweep(runs):
        if group[0].sweep in expanded:
            titles |= {run.id: run_title(run) for run in group}
        else:
            titles[group[0].id] = group_title(group)
    repeated = Counter(titles.values())
    # A selectbox identifies options by their text
    return {run_id: title if repeated[title] == 1 else f"{title} ({run_id})" for run_id, title in titles.items()}


def duration(seconds: float) -> str:
    """A duration as text: '40 s', '2 min 5 s', '1 h 10 min'."""
    total = max(1, round(seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min" + (f" {total % 60} s" if total % 60 else "")
    return f"{total // 3600} h" + (f" {total % 3600 // 60} min" if total % 3600 // 60 else "")

"""How a run is called on screen: its name or classes, and when it was created."""

from datetime import datetime
from functools import lru_cache

from minivit.runs.run import Run


def run_title(run: Run) -> str:
    """A run's name, or its classes if it has none, and when it was created."""
    if run.is_example:
        return "Example run"
    name = run.name or " · ".join(run.config.classes[:4]) + (" …" if len(run.config.classes) > 4 else "")
    return f"{name}, {creation_time(run.id)}"


@lru_cache(10_000)
def creation_time(folder_name: str) -> str:
    """The date in a folder's name; the name itself if the user chose it."""
    try:
        return f"{datetime.strptime(folder_name[:15], '%Y%m%d-%H%M%S'):%d %b %H:%M:%S}"
    except ValueError:
        return folder_name

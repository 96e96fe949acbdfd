"""Files that several processes write and read: replaced whole, appended by whole lines, locked by the system."""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from minivit.errors import RunError


def make_unused(root: Path, stem: str) -> Path:
    """Makes and returns `root/stem`, or `root/stem-2`, … where that is taken."""
    for number in range(1, 1000):
        path = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise RunError(f"{root} has a thousand runs named {stem}. Delete some.")


def replace_file(path: Path, content: Mapping[str, Any] | bytes) -> None:
    """Writes a file beside and renames it, so that a reader sees the old or the new, never half."""
    data = content if isinstance(content, bytes) else (json.dumps(content, indent=2) + "\n").encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> RunError:
    """What to tell a person whose disk does not take `path`."""
    return RunError(f"{path} cannot be written: {error.strerror}. Make room, then resume the run.")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; empty where it holds none."""
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def whole_lines(path: Path) -> list[str]:
    """Whole lines of a text file; one that is still being written is left out."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def is_held(path: Path) -> bool:
    """Whether some process holds the lock at `path`."""
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False

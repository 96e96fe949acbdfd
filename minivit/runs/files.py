"""Files that several processes write and read: atomic replacement, appending of complete lines, OS locks."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from minivit.errors import MiniViTError, RunError
from minivit.files import atomic_write
from minivit.runs.file_cache import check_regular

MAX_LINE = 2**16  # bytes of a line that `append_line` writes
TAIL_BYTES = 2**18  # more than the last lines that a page shows
LOCK_SECONDS = 5  # a finished worker may need this long to exit; `is_locked` holds the lock briefly

ADVICE = {
    errno.ENOSPC: "Free some disk space and try again.",
    errno.EDQUOT: "Free some of your disk quota and try again.",
    errno.ENOENT: "Its folder was deleted or renamed.",
    errno.ENOTDIR: "Its folder was deleted or renamed.",
}


def make_unique_folder(root: Path, name: str) -> Path:
    """Makes and returns `root/name`, or `root/name-2`, … if that exists."""
    for number in range(1, 1000):
        path = root / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise RunError(f"{root} has a thousand folders named {name}. Delete some of them.")


def replace_file(path: Path, content: Mapping[str, Any] | bytes) -> None:
    """Replaces a file atomically, with bytes or with a mapping as JSON; RunError if it cannot be written."""
    data = content if isinstance(content, bytes) else (json.dumps(content, indent=2) + "\n").encode()
    try:
        with atomic_write(path) as file:
            file.write(data)
    except OSError as error:
        raise write_error(path, error) from None


def append_line(path: Path, line: str) -> None:
    """Appends a line, in place of an incomplete one left by a full disk; RunError if it cannot be written."""
    try:
        with path.open("ab+") as file:
            size = file.tell()
            file.seek(max(0, size - MAX_LINE))
            file.truncate(size - len(file.read().rpartition(b"\n")[2]))
            file.write(f"{line}\n".encode())
    except OSError as error:
        raise write_error(path, error) from None


def write_error(path: Path, error: OSError) -> RunError:
    """The error for a file that cannot be written, with advice for its cause."""
    advice = ADVICE.get(error.errno or 0, "Check the permissions of its folder.")
    return RunError(f"{path} cannot be written: {error.strerror}. {advice}")


def remove_temporary_files(folder: Path) -> None:
    """Removes the temporary files of `replace_file` whose process was killed.

    Only the calling worker writes weights. Other processes may be writing small files, so those are removed only if
    they are older than a minute.
    """
    for path in folder.glob(".*.*-*"):
        with suppress(OSError):
            if ".safetensors." in path.name or time.time() - path.stat().st_mtime > 60:
                path.unlink()


def tail(path: Path, num_lines: int) -> list[str]:
    """The last complete lines of a text file; reads only the end of it."""
    try:
        check_regular(path.stat().st_mode, path)
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = text[: text.rfind("\n") + 1].splitlines()
    return lines[-num_lines:] if size <= TAIL_BYTES else lines[1:][-num_lines:]  # the first may be incomplete


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path`."""
    if not path.exists():  # it would be made, and a folder that is read-only is not locked
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, PermissionError):  # another user's lock counts as held
        return True
    except OSError:
        return False


@contextmanager
def hold_lock(path: Path, refusal: MiniViTError) -> Iterator[None]:
    """Holds the lock file `path`; raises `refusal` if another process holds it."""
    try:
        lock = FileLock(path).acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise refusal from None
    except OSError as error:
        raise write_error(path, error) from None
    with lock:
        yield


def delete_folder(path: Path) -> None:
    """Deletes a run's folder, also if another process does so concurrently; RunError if it cannot be deleted."""
    hidden = path.with_name(f".deleted-{path.name}-{os.getpid()}-{time.monotonic_ns()}")
    try:
        path.rename(hidden)  # atomically, so that no process reads a partly deleted folder
        shutil.rmtree(hidden)
    except FileNotFoundError:  # another process was faster
        return
    except (OSError, RecursionError) as error:  # of thousands of folders within each other
        with suppress(OSError):
            hidden.rename(path)  # the rest of it
        raise RunError(f"{path} cannot be deleted completely: {error}. Delete the rest yourself.") from None

"""Files that several processes write and read: the folders of runs, cached reading, atomic replacement, OS locks.

A page that refreshes every second reads thousands of files, few of which have changed: they are read once per version
for all sessions of this process. Cached values are shared, so callers must not change them."""

import errno
import io
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cachetools import LRUCache, cached
from filelock import FileLock, Timeout

from minivit.errors import MiniViTError, RunError
from minivit.files import atomic_write, check_regular, explain_os_error

EXAMPLE = Path(__file__).resolve().parents[1] / "tour" / "example"  # a run that nothing changes
SWEEPS = "sweeps"  # the folder in a runs folder that holds sweeps, so that no run may have its name


def default_runs_dir() -> Path:
    """`MINIVIT_RUNS` from the environment, or `runs/` next to the package."""
    folder = os.environ.get("MINIVIT_RUNS")
    return Path(os.path.expanduser(folder)) if folder else Path(__file__).parents[2] / "runs"  # noqa: PTH111, never raises


MAX_FILES = 10_000  # small files, about 50 MB
MAX_ROWS = 250_000  # rows of all tables together, about 150 MB
MAX_INVALID = 10_000  # invalid lines of a table, after which the rest is not read
MAX_OVERLAP = 256  # bytes before the position that must be unchanged

T = TypeVar("T")


def read_cached(path: Path, parse: Callable[[bytes], T]) -> T:
    """`parse` of a small file's bytes, computed again only if inode, size or modification time have changed.

    Raises OSError if the file cannot be read, and what `parse` raises.
    """
    name = str(path)
    return _parsed(name, parse, file_version(name))


def file_version(name: str) -> tuple[int, ...]:
    """What changes with a regular file's content; OSError if it cannot be read."""
    status = os.stat(name)  # noqa: PTH116, called thousands of times per refresh
    check_regular(status.st_mode, name)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@cached(LRUCache(MAX_FILES), lock=threading.Lock())
def _parsed(name: str, parse: Callable[[bytes], Any], version: tuple[int, ...]) -> Any:
    with open(name, "rb") as file:  # noqa: PTH123
        return parse(file.read())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if it is missing or invalid."""
    try:
        stored = read_cached(path, json.loads)
    except (OSError, ValueError, RecursionError):
        return {}
    return dict(stored) if isinstance(stored, dict) else {}


@dataclass
class _Table:
    """The rows of a file up to `position`, and the last bytes before it."""

    inode: int = 0
    position: int = 0
    overlap: bytes = b""
    rows: list[dict[str, Any]] = field(default_factory=list)
    num_invalid: int = 0  # invalid lines


_tables: LRUCache[Path, _Table] = LRUCache(MAX_ROWS, getsizeof=lambda table: min(1 + len(table.rows), MAX_ROWS))
_tables_lock = threading.Lock()


def read_rows(path: Path, parse: Callable[[bytes], dict[str, Any] | None]) -> tuple[list[dict[str, Any]], int]:
    """The rows of a file with one per line, and the number of lines that `parse` rejects; skips an incomplete line.

    If the file has grown, only the new lines are read. A file that was replaced or rewritten, which is detected by its
    inode or by the bytes before the last position, is read again.
    """
    with _tables_lock:
        table = _tables.pop(path, None) or _Table()
        try:
            check_regular(path.stat().st_mode, path)
            with path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                file.seek(table.position - len(table.overlap))
                if inode != table.inode or file.read(len(table.overlap)) != table.overlap:
                    table = _Table(inode)
                    file.seek(0)
                new = file.read()
        except OSError:
            return [], 0
        new = new[: new.rfind(b"\n") + 1]
        for line in io.BytesIO(new):
            if table.num_invalid == MAX_INVALID:  # not a table
                break
            if line.strip():
                row = parse(line)
                table.num_invalid += row is None
                table.rows += [] if row is None else [row]
        table.position += len(new)
        table.overlap = (table.overlap + new)[-MAX_OVERLAP:]
        _tables[path] = table
        return list(table.rows), table.num_invalid


MAX_LINE = 2**16  # bytes of a line that `append_line` writes
TAIL_BYTES = 2**18  # more than the last lines that a page shows
LOCK_SECONDS = 5  # a finished worker may need this long to exit; `is_locked` holds the lock briefly

ADVICE = {
    errno.ENOENT: "Its folder was deleted or renamed.",
    errno.EEXIST: "Rename or delete the file of that name.",
    errno.ENOTDIR: "Its folder was deleted or renamed.",
}


def make_unique_folder(root: Path, name: str) -> Path:
    """Makes and returns `root/name`, or `root/name-2`, … if that exists."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        path = root / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise RunError(f"{root} has a thousand folders named {name}. Delete some of them.")


def replace_file(path: Path, content: Mapping[str, Any] | bytes) -> None:
    """Replaces a file atomically, with bytes or with a mapping as JSON; RunError if it cannot be written."""
    data = content if isinstance(content, bytes) else (json.dumps(content, indent=2) + "\n").encode()
    with explain_write_error(path), atomic_write(path) as file:
        file.write(data)


def append_line(path: Path, line: str) -> None:
    """Appends a line, in place of an incomplete one left by a full disk; RunError if it cannot be written."""
    with explain_write_error(path), path.open("ab+") as file:
        size = file.tell()
        file.seek(max(0, size - MAX_LINE))
        file.truncate(size - len(file.read().rpartition(b"\n")[2]))
        file.write(f"{line}\n".encode())


@contextmanager
def explain_write_error(path: Path) -> Iterator[None]:
    """Converts an OSError in the block to the RunError that a file cannot be written, with advice for its cause."""
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "Check the permissions of its folder.")
        with explain_os_error(RunError, f"{path} cannot be written", advice):
            raise


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
    if not path.exists():  # it would be made
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, PermissionError):  # another user's lock counts as held
        return True
    except OSError as error:
        return error.errno == errno.EROFS and _is_locked_elsewhere(path)


def _is_locked_elsewhere(path: Path) -> bool:
    """Whether a lock on a file system that is read-only here, as of a container, is held where it is writable."""
    import fcntl  # which Windows does not have

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except OSError:
        return True


@contextmanager
def hold_lock(path: Path, refusal: MiniViTError) -> Iterator[None]:
    """Holds the lock file `path`; raises `refusal` if another process holds it."""
    with explain_write_error(path):
        try:
            lock = FileLock(path).acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise refusal from None
    with lock:
        yield


@contextmanager
def delete_on_error(path: Path) -> Iterator[None]:
    """Deletes a new folder if the block, which fills it, raises."""
    try:
        yield
    except BaseException:
        with suppress(RunError):
            delete_folder(path)
        raise


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

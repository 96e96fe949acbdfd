"""Small files and tables, read once per version for all sessions of this process.

A page that refreshes every second reads thousands of files, few of which have changed. Cached values are shared, so
callers must not change them.
"""

import errno
import io
import json
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cachetools import LRUCache, cached

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


def check_regular(mode: int, name: str | Path) -> None:
    """OSError for pipes and devices, which would block the reader, and for folders."""
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(name))


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

    @property
    def size(self) -> int:
        return min(1 + len(self.rows), MAX_ROWS)


_tables: LRUCache[Path, _Table] = LRUCache(MAX_ROWS, getsizeof=lambda table: table.size)
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

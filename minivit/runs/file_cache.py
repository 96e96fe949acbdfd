"""Small files and tables, read once per version for all sessions of this process.

A page that refreshes every second looks at thousands of files, few of which have changed. Cached values are shared, so
callers must not change them.
"""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cachetools import LRUCache, cached

MAX_FILES = 10_000  # small files, about 50 MB
MAX_ROWS = 100_000  # rows of all tables together, about 60 MB
MAX_OVERLAP = 256  # bytes before the position that must be unchanged

T = TypeVar("T")


def read_cached(path: Path, parse: Callable[[bytes], T]) -> T:
    """`parse` of a small file's bytes, computed again only if inode, size or modification time have changed.

    Raises OSError if the file cannot be read, and what `parse` raises.
    """
    name = str(path)
    stat = os.stat(name)  # noqa: PTH116, called thousands of times per refresh
    return _parsed(name, parse, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))


@cached(LRUCache(MAX_FILES), lock=threading.Lock())
def _parsed(name: str, parse: Callable[[bytes], Any], version: tuple[int, ...]) -> Any:
    with open(name, "rb") as file:  # noqa: PTH123
        return parse(file.read())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        stored = read_cached(path, json.loads)
    except (OSError, ValueError):
        return {}
    return dict(stored) if isinstance(stored, dict) else {}


@dataclass
class _Table:
    """The rows of a file up to `position`, with the bytes before it."""

    inode: int = 0
    position: int = 0
    overlap: bytes = b""
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return min(1 + len(self.rows), MAX_ROWS)


_tables: LRUCache[Path, _Table] = LRUCache(MAX_ROWS, getsizeof=lambda table: table.size)
_tables_lock = threading.Lock()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file with one per line; other lines and an incomplete last line are skipped.

    Of a file that has grown only the new lines are read. A file that was replaced or rewritten, which shows in its
    inode or in the bytes before the last position, is read again.
    """
    with _tables_lock:
        table = _tables.pop(path, None) or _Table()
        try:
            with path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                file.seek(table.position - len(table.overlap))
                if inode != table.inode or file.read(len(table.overlap)) != table.overlap:
                    table = _Table(inode)
                    file.seek(0)
                new = file.read()
        except OSError:
            return []
        new = new[: new.rfind(b"\n") + 1]
        table.rows += [row for line in new.splitlines() if isinstance(row := _loads(line), dict)]
        table.position += len(new)
        table.overlap = (table.overlap + new)[-MAX_OVERLAP:]
        _tables[path] = table
        return list(table.rows)


def _loads(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None

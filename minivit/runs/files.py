"""Files that several processes write and read: replaced whole, appended by whole lines, locked by the system."""

import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from minivit.errors import RunError
from minivit.files import atomic_write

TAIL_BYTES = 2**18  # more than the last lines that anybody looks at
ROWS_REMEMBERED = 100_000  # rows of all growing files together, some 60 MB
FILES_REMEMBERED = 10_000  # small files, some 50 MB

T = TypeVar("T")


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
    """Replaces a file atomically, a mapping as JSON. Raises RunError where it cannot be written."""
    data = content if isinstance(content, bytes) else (json.dumps(content, indent=2) + "\n").encode()
    try:
        with atomic_write(path) as file:
            file.write(data)
    except OSError as error:
        raise unwritable(path, error) from None


def remove_leftovers(folder: Path) -> None:
    """Removes what `replace_file` left half written where its process was killed.

    Weights are written by the one worker that calls this. Small files are written by others too, perhaps now, and go
    when they are a minute old.
    """
    for path in folder.glob(".*.*-*"):
        with suppress(OSError):
            if ".safetensors." in path.name or time.time() - path.stat().st_mtime > 60:
                path.unlink()


def unwritable(path: Path, error: OSError) -> RunError:
    """What to tell a person whose disk does not take `path`."""
    return RunError(f"{path} cannot be written: {error.strerror}. Make room, then resume the run.")


_parsed: OrderedDict[tuple[str, Callable[[bytes], Any]], tuple[tuple[int, ...], Any]] = OrderedDict()
_parsing = threading.Lock()


def parsed(path: Path, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of a small file, which is read again only once it is another one.

    Another one is told by its inode, size and time of writing. What comes is everybody's: do not change it. Raises
    OSError where there is no such file, and what `parse` raises.
    """
    key = str(path), parse
    stamp = _stamp(os.stat(key[0]))  # noqa: PTH116, a thousand times at every refresh of a page
    with _parsing:
        known = _parsed.get(key)
        if known and known[0] == stamp:
            _parsed.move_to_end(key)
            value: T = known[1]
            return value
    with path.open("rb") as file:
        stamp = _stamp(os.fstat(file.fileno()))
        value = parse(file.read())
    with _parsing:
        _parsed[key] = stamp, value
        while len(_parsed) > FILES_REMEMBERED:
            _parsed.popitem(last=False)
    return value


def _stamp(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; empty where it holds none. Do not change what lies inside of it."""
    try:
        stored = parsed(path, json.loads)
    except (OSError, ValueError):
        return {}
    return dict(stored) if isinstance(stored, dict) else {}


def last_lines(path: Path, count: int) -> list[str]:
    """The last whole lines of a text file, of which only the end is read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = text[: text.rfind("\n") + 1].splitlines()
    return lines[-count:] if size <= TAIL_BYTES else lines[1:][-count:]  # the first may have lost its beginning


@dataclass
class _Grown:
    """What was read of a file that only grows: up to where, the bytes before that place, and the rows."""

    inode: int = 0
    place: int = 0
    before: bytes = b""
    rows: list[dict[str, Any]] = field(default_factory=list)


_grown: OrderedDict[Path, _Grown] = OrderedDict()
_growing = threading.Lock()


def json_rows(path: Path) -> list[dict[str, Any]]:
    """The JSON objects that a file holds, one a line; what is none is left out, as is a line still being written.

    Rows are read once and remembered for all who ask in this process: of a file that has grown only what came since is
    read. A file that was replaced or written anew is told by its inode and the bytes before that place. The rows are
    everybody's: do not change them.
    """
    with _growing:
        known = _grown.pop(path, None) or _Grown()
        try:
            with path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                file.seek(known.place - len(known.before))
                if inode != known.inode or file.read(len(known.before)) != known.before:
                    known = _Grown(inode)
                    file.seek(0)
                new = file.read()
        except OSError:
            return []
        new = new[: new.rfind(b"\n") + 1]
        for line in new.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            known.rows += [row] if isinstance(row, dict) else []
        known.place += len(new)
        known.before = (known.before + new)[-256:]
        _grown[path] = known
        while len(_grown) > 1 and sum(len(each.rows) for each in _grown.values()) > ROWS_REMEMBERED:
            _grown.popitem(last=False)
        return list(known.rows)


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

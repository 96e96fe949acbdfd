"""Files that other processes read while they are written."""

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile

# What zipfile raises for a damaged, truncated or encrypted file, an unknown compression and an impossible name
ZIP_ERRORS = (BadZipFile, EOFError, RuntimeError, ValueError, zlib.error)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces `path` when the block ends: a reader sees the old content or the new, never a part of it.

    If the block raises, `path` stays as it was. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

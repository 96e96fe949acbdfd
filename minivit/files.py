"""Names of files, archives, and files that other processes read while they are written."""

import errno
import os
import stat
import threading
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile, ZipInfo

from minivit.errors import MiniViTError, RunError

# What zipfile raises for a damaged, truncated or encrypted file, an unknown compression and an impossible name
ZIP_ERRORS = (BadZipFile, EOFError, RuntimeError, ValueError, zlib.error)

MAX_DIRECTORY_BYTES = 16 * 2**20  # of the list of files in a .zip, 100,000 names or more
MAX_RATIO, MIN_BOMB_BYTES = 100, 16 * 2**20  # images and weights hardly compress; small text files do


def open_zip(file: BinaryIO) -> ZipFile:
    """A .zip to read; BadZipFile also if its list of files is too long to be read into memory."""
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # as ZipFile reads it, but without the list
    if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY_BYTES:  # type: ignore[attr-defined]
        raise BadZipFile("it has too many files")
    archive = ZipFile(file)
    if not all(info.filename for info in archive.infolist()):
        raise BadZipFile("it has a file without a name")
    return archive


def is_bomb(files: Iterable[ZipInfo]) -> bool:
    """Whether these files together are compressed beyond reason."""
    sizes = [(info.file_size, max(1, info.compress_size)) for info in files]
    num_bytes, num_compressed = (sum(column) for column in zip(*sizes, strict=True)) if sizes else (0, 0)
    return num_bytes > MIN_BOMB_BYTES and num_bytes > MAX_RATIO * num_compressed


def is_text(name: str) -> bool:
    """Whether a name is valid Unicode; in others Python has surrogates, which no page can show."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def check_regular(mode: int, name: str | Path) -> None:
    """OSError for pipes and devices, which would block the reader, and for folders."""
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(name))


def open_log(path: Path) -> BinaryIO:
    """A log to append to; RunError if it cannot be written, or is not a regular file, which could block the writer."""
    with explain_os_error(RunError, f"{path} cannot be written", "Check its permissions, or delete it."):
        if path.exists():
            check_regular(path.stat().st_mode, path)
        return path.open("ab")


# What to do about an error that has nothing to do with the file's name or permissions
ADVICE = {
    errno.ENOSPC: "Free some disk space and try again.",
    errno.EDQUOT: "Free some of your disk quota and try again.",
}


@contextmanager
def utf8_name(path: Path) -> Iterator[str | Path]:
    """A name of the file for libraries that accept only UTF-8; a path has another encoding in some locales."""
    try:
        os.fsencode(path).decode()
        yield path
    except UnicodeDecodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"


@contextmanager
def explain_os_error(error_class: type[MiniViTError], what: str, advice: str) -> Iterator[None]:
    """Converts an OSError in the block to an error that says what cannot be done, the reason, and what to do."""
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, advice)
        raise error_class(f"{what}: {error.strerror or error}. {advice}") from None
    except UnicodeEncodeError as error:
        reason = f"file names in this locale ({error.encoding}) cannot contain {error.object[error.start]!r}"
        raise error_class(f"{what}: {reason}. Choose another name.") from None


NUM_REPLACEMENTS = 20  # attempts, as on Windows a file cannot be replaced while another process reads it


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces `path` when the block ends: a reader sees the old content or the new, never a part of it.

    If the block raises, `path` stays as it was. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            yield file
        for _ in range(NUM_REPLACEMENTS):
            with suppress(PermissionError):
                temporary.replace(path)
                return
            time.sleep(0.01)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

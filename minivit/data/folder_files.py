"""The files of an image folder: which are images, in which order; links, hidden files and folders of systems."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from minivit.data.decode import SUFFIXES, describe_error
from minivit.errors import DataError
from minivit.files import is_text

# Folders that operating systems and programs create; hidden ones are always ignored
JUNK_FOLDERS = {"__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "__pycache__"}
JUNK_FILES = {"thumbs.db", "desktop.ini", "icon\r"}
MAX_DEPTH = 32  # of folders below a class folder


class ImageFile(NamedTuple):
    """A file of a class folder, with the size and time by which a change is detected."""

    path: str  # relative to the class folder
    size: int
    mtime_ns: int


def image_files(folder: Path) -> list[ImageFile]:
    """All images in a class folder and below, without hidden ones, unordered. DataError if there are none."""
    start = len(str(folder)) + 1
    with os_errors_as_data_errors(folder):
        files = []
        for entry in walk(str(folder)):
            if is_image(entry):
                is_broken = entry.is_symlink() and not Path(entry.path).is_file()
                status = entry.stat(follow_symlinks=not is_broken)
                files.append(ImageFile(entry.path[start:], status.st_size, status.st_mtime_ns))
    if not files:
        raise DataError(f"The class folder {folder} contains no images. Add some, or leave the class out.")
    return files


def natural_order(file: ImageFile) -> list[str | int]:
    """A sort key that puts 2.png before 10.png."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", file.path)] + [file.path]


def walk(folder: str, above: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
    """All files in a folder and below, without hidden ones; a cycle of links is entered once."""
    real = os.path.realpath(folder)
    if real in above or len(above) > MAX_DEPTH:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            is_folder = Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()  # a loop of links is none
            if is_folder:
                if entry.name.lower() not in JUNK_FOLDERS:
                    yield from walk(entry.path, (*above, real))
            else:
                yield entry


def is_image(entry: os.DirEntry[str]) -> bool:
    """Whether an entry has an image's suffix and is a regular file, or a broken link, which is then reported."""
    return entry.name.lower().endswith(SUFFIXES) and (entry.is_symlink() or entry.is_file())


def has_images(folder: Path) -> bool:
    return any(is_image(entry) for entry in walk(str(folder)))


def subfolders(folder: Path) -> dict[str, Path]:
    folders = sorted(
        (path.name, path)
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in JUNK_FOLDERS and path.is_dir()
    )
    for name, _ in folders:
        if not is_text(name):
            raise DataError(f"The name of the class folder {name!r} is not valid text. Rename it.")
    return dict(folders)


@contextmanager
def os_errors_as_data_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        where = error.filename or path
        raise DataError(f"There is no permission to read {where}. Grant it, or choose another folder.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({describe_error(error)}). Check the path.") from None

"""The user's own images: `<root>/<class>/*` or `<root>/train|test/<class>/*`.

Data-set order: class folders by name, then files by relative path, with numbers in natural order.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from minivit.config import TrainConfig
from minivit.data.cache import cached, digest, resolve_data_dir
from minivit.data.decode import SUFFIXES, decode_files, describe_error
from minivit.data.image_set import ClassImages, ImageRequest, ImageSet, Progress, join
from minivit.errors import DataError


class ImageFile(NamedTuple):
    """A file of a class folder, with what shows that it has changed."""

    path: str  # relative to the class folder
    size: int
    mtime_ns: int


def list_classes(data_dir: str | Path) -> tuple[str, ...]:
    """The names of the class folders, sorted."""
    return tuple(class_folders(data_dir))


def is_present(data_dir: str | Path) -> bool:
    """Whether there are class folders."""
    try:
        return bool(class_folders(data_dir))
    except DataError:
        return False


def check(config: TrainConfig) -> None:
    """DataError if a class folder of `config` has no images or the test part is missing."""
    for part in ("train", "test") if config.split == "official" else ("train",):
        folders = class_folders(config.data_dir, part)
        for name in config.classes:
            if name in folders:
                image_files(folders[name])


def class_folders(data_dir: str | Path, part: str = "train") -> dict[str, Path]:
    """The class folders of `part` by name, sorted. DataError if there are fewer than two to train on."""
    if not str(data_dir):
        raise DataError("The data set 'folder' needs the folder that contains your images. Name it (--data-dir DIR).")
    root = resolve_data_dir(data_dir)
    with _os_errors_as_data_errors(root):
        if not root.exists():
            raise DataError(f"There is no folder {root}. Check the path of the data folder.")
        if not root.is_dir():
            raise DataError(f"{root} is a file. Name the folder that contains one folder of images per class.")
        has_train = _contains_class_folders(root / "train")
        if part == "test" and not (has_train and _contains_class_folders(root / "test")):
            raise DataError(
                f"{root} has no test part. Choose the split 'article', which holds out a share of the train part, "
                "or sort the images into train/<class> and test/<class>."
            )
        parent = root / part if has_train else root
        folders = _subfolders(parent)
    if not folders:
        raise DataError(f"{parent} contains no class folders. Add at least 2, one per class.")
    if len(folders) == 1 and part == "train":
        raise DataError(
            f"{parent} contains 1 class folder, {next(iter(folders))!r}; a classifier needs at least 2. "
            "Add one folder per class."
        )
    return folders


def read(request: ImageRequest, progress: Progress | None = None) -> ImageSet:
    """The images in data-set order; a class that has not changed comes from the cache."""
    folders = class_folders(request.data_dir, request.part)
    files: dict[str, list[ImageFile]] = {}
    for name in sorted(request.classes):
        if name not in folders:
            raise DataError(
                f"The {request.part} part in {request.data_dir} has no folder for the class {name!r}. Add one."
            )
        files[name] = image_files(folders[name])
    counts = {name: min(request.images_per_class or len(of_class), len(of_class)) for name, of_class in files.items()}
    total, done = sum(counts.values()), 0
    parts: dict[str, ClassImages] = {}
    for name in files:

        def report(num_read: int, name: str = name, done: int = done) -> None:
            if progress:
                progress(f"Reading {name}", done + num_read, total)

        parts[name] = _read_class(folders[name], files[name], request, report)
        report(counts[name])
        done += counts[name]
    return join(parts, request.classes)


def _read_class(
    folder: Path, files: list[ImageFile], request: ImageRequest, report: Callable[[int], None]
) -> ClassImages:
    form = (request.img_size, request.in_chans)

    def decode() -> Iterator[ClassImages]:
        first = sorted(files, key=natural_order)[: request.images_per_class or None]
        return decode_files([folder / file.path for file in first], *form, report)

    name = digest(str(folder.absolute()), *form, request.images_per_class)
    of_class = cached(f"folder-{name}", digest(sorted(files)), decode)
    if not len(of_class.images):
        raise DataError(
            f"None of the {len(of_class.skipped)} images of the class {folder.name!r} can be read; the first is "
            f"{of_class.skipped[0]}. Replace them or leave the class out."
        )
    return of_class


def image_files(folder: Path) -> list[ImageFile]:
    """All images in a class folder and below, without hidden ones, in no order. DataError if there are none."""
    with _os_errors_as_data_errors(folder):
        files = [ImageFile(path[len(str(folder)) + 1 :], size, mtime) for path, size, mtime in _walk(str(folder))]
    if not files:
        raise DataError(
            f"The class folder {folder} contains no {', '.join(SUFFIXES)} files. Add some or leave the class out."
        )
    return files


def natural_order(file: ImageFile) -> list[str | int]:
    """A sort key that puts 2.png before 10.png."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", file.path)] + [file.path]


def _walk(folder: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.name.lower().endswith(SUFFIXES):
                status = entry.stat(follow_symlinks=entry.is_file())  # of the link itself where it is broken
                yield entry.path, status.st_size, status.st_mtime_ns


def _subfolders(folder: Path) -> dict[str, Path]:
    folders = sorted((path.name, path) for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    for name, _ in folders:
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"The name of the class folder {name!r} is not valid text. Rename it.")
    return dict(folders)


def _contains_class_folders(folder: Path) -> bool:
    """Whether this is a folder of class folders; a class that is named 'train' contains images itself."""
    if not folder.is_dir():
        return False
    return bool(_subfolders(folder)) and not any(path.name.lower().endswith(SUFFIXES) for path in folder.iterdir())


@contextmanager
def _os_errors_as_data_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise DataError(
            f"There is no permission to read {error.filename or path}. Grant it, or choose another folder."
        ) from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({describe_error(error)}). Check the path of the data folder."
        ) from None

"""The user's own images: `<root>/<class>/*`, or `<root>/train|test/<class>/*` under any usual names of the splits.

Data-set order: class folders by name, then files by relative path, with numbers in natural order.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from statistics import median

from minivit.data.cache import cached, digest, resolve_data_dir
from minivit.data.decode import SUFFIXES, decode_files, original_size
from minivit.data.folder_files import (
    JUNK_FILES,
    MAX_DEPTH,
    ImageFile,
    has_images,
    image_files,
    is_image,
    natural_order,
    os_errors_as_data_errors,
    subfolders,
    walk,
)
from minivit.data.image_set import ClassImages, ImageRequest, ImageSet, Progress, concatenate_classes
from minivit.errors import DataError

# Names of the splits, letters only, without a final "set", "data" or "images"
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation", "eval", "dev", "holdout")  # the first that exists
MAX_COUNTED = 100_000  # files, in a folder that is browsed
MAX_MEASURED = 50  # images of a class whose original size is read


def list_classes(data_dir: str | Path) -> tuple[str, ...]:
    """The names of the class folders, sorted."""
    return tuple(class_folders(data_dir))


def is_present(data_dir: str | Path) -> bool:
    """Whether there are class folders."""
    try:
        return bool(class_folders(data_dir))
    except DataError:
        return False


def check(data_dir: str | Path, official: bool) -> None:
    """DataError if the `official` test split is wanted and there is none."""
    if official:
        class_folders(data_dir, "test")


def class_folders(data_dir: str | Path, split: str = "train") -> dict[str, Path]:
    """The class folders of a split that contain images, by name, sorted. DataError if there are fewer than two."""
    if not str(data_dir):
        raise DataError("The data set 'folder' needs a folder that contains your images. Specify it (--data-dir DIR).")
    root = resolve_data_dir(data_dir)
    with os_errors_as_data_errors(root):
        if not root.exists():
            raise DataError(f"There is no folder {root}. Check the path of the data folder.")
        if not root.is_dir():
            raise DataError(f"{root} is a file. Choose the folder that contains one folder of images per class.")
        splits = split_folders(root)
        if split == "test" and "test" not in splits:
            raise DataError(
                f"{root} has no test split. Choose the split 'article', which holds out a share of the training split, "
                "or sort the images into train/<class> and test/<class>."
            )
        parent = splits.get(split, root)
        folders = {name: path for name, path in subfolders(parent).items() if has_images(path)}
        if len(folders) < 2 and split == "train":
            raise _too_few_classes(parent, folders)
    return folders


def split_folders(root: Path) -> dict[str, Path]:
    """The parents of the class folders of the splits "train" and "test", if both or train alone have class folders."""
    folders = {name: path for name, path in subfolders(root).items() if has_images(path)}
    train, test = (_split_named(folders, names) for names in (TRAIN_NAMES, TEST_NAMES))
    splits = {split: _parent_of_classes(path) for split, path in (("train", train), ("test", test)) if path}
    splits = {split: path for split, path in splits.items() if any(map(has_images, subfolders(path).values()))}
    if train and test and "train" not in splits:
        raise DataError(
            f"{root} contains {train.name} and {test.name}, but {train.name} has no class folders. Sort its images "
            f"into one folder per class, such as {train.name}/cat and {train.name}/dog."
        )
    return splits if "train" in splits else {}


def _split_named(folders: dict[str, Path], names: Sequence[str]) -> Path | None:
    """The folder with the first of these names, also as a word: "Train", "train_set", "Training data", "x_test"."""
    words = {path: re.findall("[a-z]+", name.lower()) for name, path in folders.items()}
    for name in names:
        for path, parts in words.items():
            if re.fullmatch(f"{name}(data)?(set|data|images)?", "".join(parts)):
                return path
    both = [{word for parts in words.values() for word in parts} & {*kind} for kind in (TRAIN_NAMES, TEST_NAMES)]
    if all(both):  # a word alone may be part of a class's name
        return next((path for name in names for path, parts in words.items() if name in parts), None)
    return None


def _parent_of_classes(folder: Path) -> Path:
    """The folder of a split, or the one below that alone has images: train/PetImages/cat."""
    inside = {path for path in subfolders(folder).values() if has_images(path)}
    if len(inside) == 1:
        (only,) = inside
        if sum(map(has_images, subfolders(only).values())) > 1:
            return only
    return folder


def _too_few_classes(parent: Path, folders: dict[str, Path]) -> DataError:
    """The error for a folder with fewer than two class folders, with advice for what it contains."""
    empty = [name for name in subfolders(parent) if name not in folders]
    also = f" These contain no images: {_listed(empty)}." if empty else ""
    if not folders:
        return DataError(f"{parent} contains no class folders with images. Add at least 2, one per class.{also}")
    (only,) = folders.values()
    inside = {only.name: only}
    deepest = only
    while len(inside) == 1 and len(deepest.parts) < len(parent.parts) + MAX_DEPTH:  # a path some levels too high
        (deepest,) = inside.values()
        inside = {name: path for name, path in subfolders(deepest).items() if has_images(path)}
    if len(inside) > 1:
        where = deepest.relative_to(parent)
        return DataError(
            f"{parent}: its only folder {where} contains {_listed([*inside])}. Choose that one: {deepest}."
        )
    return DataError(
        f"{parent} contains 1 class folder, {only.name!r}; a classifier needs at least 2. "
        f"Add one folder per class.{also}"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def ignored_files(data_dir: str | Path, official: bool) -> list[str]:
    """What training on this folder does not use, one sentence each: empty folders, a test split, other files."""
    root = resolve_data_dir(data_dir)
    with os_errors_as_data_errors(root):
        splits = split_folders(root)
        lines = []
        if "test" in splits and not official:
            name = splits["test"].name
            lines.append(f"{name}: not used. The split 'article' tests on a share of the training split.")
        used_names = [path.relative_to(root).parts[0] for path in splits.values()]
        others = [name for name in subfolders(root) if splits and name not in used_names]
        used = ", ".join(used_names)
        lines += [f"{name}: not used. The splits are {used}." for name in others]
        if len(splits) == 2 and official:
            only_tested = set(subfolders(splits["test"])) - set(subfolders(splits["train"]))
            lines += [f"{name}: not used. It has no training images." for name in sorted(only_tested)]
        for parent in dict.fromkeys((root, *splits.values())):
            names = sorted(path.name for path in parent.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
            lines += [f"{len(names)} beside the class folders in {parent}, such as {names[0]}"] if names else []
        for parent in splits.values() or [root]:
            lines += [f"{name}: no images" for name, path in subfolders(parent).items() if not has_images(path)]
            for name, path in subfolders(parent).items():
                lines += _other_files(name, path)
    return lines


def _other_files(name: str, folder: Path) -> list[str]:
    """A line for each suffix of files in a class folder that are not images."""
    by_suffix: dict[str, list[str]] = {}
    for entry in walk(str(folder)):
        if not is_image(entry) and entry.name.lower() not in JUNK_FILES:
            kind = Path(entry.name).suffix.lower() if Path(entry.path).is_file() else "not a regular file"
            by_suffix.setdefault(kind, []).append(entry.name)
    lines = [
        f"{name}: {len(names)} {kind or 'without a suffix'} left out, such as {names[0]}"
        for kind, names in sorted(by_suffix.items())
    ]
    return [line.encode(errors="replace").decode() for line in lines]  # a name may not be text


def read(request: ImageRequest, progress: Progress | None = None) -> ImageSet:
    """The images in data-set order; a class that has not changed comes from the cache."""
    folders = class_folders(request.data_dir, request.split)
    files: dict[str, list[ImageFile]] = {}
    for name in sorted(request.classes):
        if name not in folders:
            raise DataError(
                f"The {request.split} split in {request.data_dir} has no folder for the class {name!r}. Add one."
            )
        files[name] = image_files(folders[name])
    counts = {name: min(request.images_per_class or len(of_class), len(of_class)) for name, of_class in files.items()}
    total = sum(counts.values())
    done = 0
    parts: dict[str, ClassImages] = {}
    for name in files:

        def report(num_read: int, name: str = name, done: int = done) -> None:
            if progress:
                progress(f"Reading {name}", done + num_read, total)

        parts[name] = _read_class(folders[name], files[name], request, report)
        report(counts[name])
        done += counts[name]
    return concatenate_classes(parts, request.classes, request.max_bytes)


def _read_class(
    folder: Path, files: list[ImageFile], request: ImageRequest, report: Callable[[int], None]
) -> ClassImages:
    form = (request.img_size, request.in_chans, request.preprocessing)

    def decode() -> Iterator[ClassImages]:
        first = sorted(files, key=natural_order)[: request.images_per_class or None]
        return decode_files([folder / file.path for file in first], form, report)

    resized = [request.preprocessing.model_dump_json()] if request.preprocessing else []
    name = digest(str(folder.absolute()), request.img_size, request.in_chans, *resized, request.images_per_class)
    of_class = cached(f"folder-{name}", digest(sorted(files)), decode)
    if not len(of_class.images):
        raise DataError(
            f"None of the {len(of_class.skipped)} images of the class {folder.name!r} can be read; the first is "
            f"{of_class.skipped[0]}. Replace them or leave the class out."
        )
    return of_class


def count_images(data_dir: str | Path) -> dict[str, int]:
    """The number of images in each subfolder, or of the training split if there is one, of at most `MAX_COUNTED` files.

    None is read, and subfolders without permission count as empty.
    """
    root = resolve_data_dir(data_dir)
    counts = {}
    num_left = MAX_COUNTED
    with os_errors_as_data_errors(root):
        folders = subfolders(root)
        train = _split_named(folders, TRAIN_NAMES)
        for name, path in ((train and subfolders(train)) or folders).items():
            entries: list[os.DirEntry[str]] = []
            with suppress(OSError):
                entries.extend(islice(walk(str(path)), num_left))
            num_left -= len(entries)
            counts[name] = sum(map(is_image, entries))
    return counts


def original_sizes(data_dir: str | Path, classes: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The median width and height of each class's first images, in pixels; (0, 0) for a class without readable ones."""
    sizes = {}
    for name, folder in class_folders(data_dir).items():
        if name in classes:
            first = sorted(image_files(folder), key=natural_order)[:MAX_MEASURED]
            known = [size for file in first if (size := original_size(folder / file.path))]
            sizes[name] = (int(median(w for w, _ in known)), int(median(h for _, h in known))) if known else (0, 0)
    return sizes

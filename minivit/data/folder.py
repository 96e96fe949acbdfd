"""A person's own images: `<root>/<class>/*` or `<root>/train|test/<class>/*` -> uint8 (N, C, H, W).

Data-set order: class folders by name, inside a class files by relative path with numbers as numbers.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from minivit.data.cache import cached, digest, root_of
from minivit.data.image_set import ClassImages, ImageSet, Progress, join
from minivit.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")  # by content; no decoder beyond these is ever run
CHUNK_PIXELS = 2**16  # that a thread decodes between two reports: 64 images of 32 px


class ImageFile(NamedTuple):
    """One file of a class folder, and what tells that it has changed."""

    path: str  # relative to the class folder
    size: int
    mtime_ns: int


def class_folders(data_dir: str | Path, part: str = "train") -> dict[str, Path]:
    """The class folders of `part` by name, sorted. DataError where there are not at least two to train on."""
    if not str(data_dir):
        raise DataError("The data set 'folder' needs the folder that holds your images. Name it (--data-dir DIR).")
    root = root_of(data_dir)
    with _in_words(root):
        if not root.exists():
            raise DataError(f"There is no folder {root}. Mend the path of the data folder.")
        if not root.is_dir():
            raise DataError(f"{root} is a file. Name the folder that holds a folder of images per class.")
        has_train = _is_part(root / "train")
        if part == "test" and not (has_train and _is_part(root / "test")):
            raise DataError(
                f"{root} has no test part. Choose the split 'article', which holds out a share of the train part, "
                "or sort the images into train/<class> and test/<class>."
            )
        home = root / part if has_train else root
        folders = _folders(home)
    if not folders:
        raise DataError(f"{home} holds no class folders. Add a folder of images per class, at least 2.")
    if len(folders) == 1 and part == "train":
        only = next(iter(folders))
        raise DataError(
            f"{home} holds 1 class folder, {only!r}; a classifier needs at least 2. Add a folder per class."
        )
    return folders


def read(
    data_dir: str | Path, part: str, classes: Sequence[str], *, img_size: int, in_chans: int, images_per_class: int,
    progress: Progress | None = None,
) -> ImageSet:  # fmt: skip
    """The images of these classes in data-set order, each class from the cache where nothing has changed since."""
    folders = class_folders(data_dir, part)
    files: dict[str, list[ImageFile]] = {}
    for name in sorted(classes):
        if name not in folders:
            raise DataError(f"The {part} part in {data_dir} has no folder for the class {name!r}. Add one.")
        files[name] = image_files(folders[name])
    wanted = {name: min(images_per_class or len(found), len(found)) for name, found in files.items()}
    parts: dict[str, ClassImages] = {}
    for name, found in files.items():
        report = _reporter(progress, name, done=sum(wanted[other] for other in parts), total=sum(wanted.values()))
        parts[name] = _read_class(folders[name], found, images_per_class, img_size, in_chans, report)
        report(wanted[name])
    return join(parts, classes)


def _reporter(progress: Progress | None, name: str, done: int, total: int) -> Callable[[int], None]:
    def report(number: int) -> None:
        if progress:
            progress(f"Reading {name}", done + number, total)

    return report


def _read_class(
    folder: Path, files: list[ImageFile], limit: int, img_size: int, in_chans: int, report: Callable[[int], None]
) -> ClassImages:
    def make() -> Iterator[ClassImages]:
        first = sorted(files, key=natural_order)[: limit or None]
        return _decode_all(folder, [file.path for file in first], img_size, in_chans, report)

    asked = digest(str(folder.absolute()), img_size, in_chans, limit)
    found = cached(f"folder-{asked}", digest(sorted(files)), make)
    if not len(found.images):
        raise DataError(
            f"None of the {len(found.skipped)} images of the class {folder.name!r} can be read; the first is "
            f"{found.skipped[0]}. Replace them or leave the class out."
        )
    return found


def image_files(folder: Path) -> list[ImageFile]:
    """All images under a class folder, hidden ones aside, in no order. DataError where there is none."""
    with _in_words(folder):
        files = [ImageFile(path[len(str(folder)) + 1 :], size, mtime) for path, size, mtime in _walk(str(folder))]
    if not files:
        raise DataError(f"The class folder {folder} holds no {', '.join(SUFFIXES)} files. Add some or leave it out.")
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
                found = entry.stat(follow_symlinks=entry.is_file())  # a link to nowhere is told by itself
                yield entry.path, found.st_size, found.st_mtime_ns


def _folders(folder: Path) -> dict[str, Path]:
    found = sorted((path.name, path) for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    for name, _ in found:
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"The name of the class folder {name!r} is not valid text. Rename it.")
    return dict(found)


def _is_part(folder: Path) -> bool:
    """Whether this is a folder of class folders; a class named 'train' holds images itself."""
    if not folder.is_dir():
        return False
    return bool(_folders(folder)) and not any(path.name.lower().endswith(SUFFIXES) for path in folder.iterdir())


def _decode_all(
    folder: Path, paths: list[str], img_size: int, in_chans: int, report: Callable[[int], None]
) -> Iterator[ClassImages]:
    """The images of these files in their order, chunk by chunk; only a few chunks are decoded ahead."""
    size = max(1, CHUNK_PIXELS // img_size**2)
    chunks = iter([paths[start : start + size] for start in range(0, len(paths), size)])
    num_threads = os.cpu_count() or 1
    done = 0
    with ThreadPoolExecutor(num_threads) as pool:

        def decoding(num_chunks: int) -> list[Future[ClassImages]]:
            some = islice(chunks, num_chunks)
            return [pool.submit(_decode_some, [folder / path for path in chunk], img_size, in_chans) for chunk in some]

        ahead = deque(decoding(4 * num_threads))
        while ahead:
            decoded = ahead.popleft().result()
            ahead.extend(decoding(1))
            done += len(decoded.images) + len(decoded.skipped)
            report(done)
            yield decoded


def _decode_some(paths: list[Path], img_size: int, in_chans: int) -> ClassImages:
    images = np.empty((len(paths), in_chans, img_size, img_size), np.uint8)
    skipped: list[str] = []
    num_images = 0
    for path in paths:
        try:
            images[num_images] = decode_image(path, img_size, in_chans)
            num_images += 1
        except Exception as error:  # whatever PIL's decoders raise on a damaged file
            skipped.append(f"{path}: {_reason(error)}".encode(errors="replace").decode())
    return ClassImages(torch.from_numpy(images[:num_images]), skipped=tuple(skipped))


def decode_image(path: Path, img_size: int, in_chans: int) -> np.ndarray:
    """One file -> uint8 (C, H, W): turned upright, shorter side resized with antialias, centre cut out."""
    with Image.open(path, formats=FORMATS) as image:
        image.draft(None, (2 * img_size, 2 * img_size))  # a large JPEG is decoded at a fraction of its size
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
    picture: Image.Image = image
    if picture.mode.startswith("I;16"):  # PIL would cut off at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    mode = "RGB" if in_chans == 3 else "L"
    if picture.mode != mode:
        picture = picture.convert(mode)
    if picture.size != (img_size, img_size):
        picture = ImageOps.fit(picture, (img_size, img_size))
    return np.asarray(picture).reshape(img_size, img_size, in_chans).transpose(2, 0, 1)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG or WebP image"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said or type(error).__name__


@contextmanager
def _in_words(path: str | Path) -> Iterator[None]:
    """What the system says against reading a folder, as DataError."""
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{error.filename or path} may not be read. Give permission, or name another folder.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({_reason(error)}). Mend the path of the data folder.") from None

"""Image sets that users upload: `<data folder>/uploads/<name>/<class>/…`, ordinary folders of images.

A set holds at most `MAX_FILES` images of `MAX_FILE_BYTES` each, and `MAX_BYTES` in total, unpacked.
"""

import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import ZipFile, ZipInfo

from minivit.data.cache import default_data_dir
from minivit.data.decode import SUFFIXES, original_size
from minivit.data.folder import class_folders
from minivit.data.folder_files import JUNK_FILES, JUNK_FOLDERS, MAX_DEPTH
from minivit.data.image_set import Progress
from minivit.errors import DataError
from minivit.files import ZIP_ERRORS, atomic_write, explain_os_error, is_bomb, is_text, open_zip

MAX_FILES = 50_000
MAX_FILE_BYTES = 64 * 2**20
MAX_BYTES = 4 * 2**30
MAX_NAME_LENGTH = 60
ADVICE = "Rename files and folders of the same name, or check its permissions."  # if the disk is not full
MAX_PART_BYTES = 255  # of a name, on nearly all file systems


@dataclass(frozen=True)
class UploadReport:
    """How many images were added, and what was left out, one line each."""

    num_added: int
    left_out: list[str]


def list_uploads() -> dict[str, Path]:
    root = _root()
    paths = sorted(root.iterdir()) if root.is_dir() else []
    return {path.name: path for path in paths if path.is_dir() and not path.name.startswith(".")}


def unpack_upload(file: BinaryIO, name: str, progress: Progress | None = None) -> UploadReport:
    """A new set from a .zip of class folders at any depth.

    Nothing is written outside of the set, and nothing at all if it cannot be trained on. DataError if the file is not a
    .zip or is too large, if the name is taken, and if `class_folders` raises one.
    """
    target = _root() / _checked(name, "set")
    if target.exists():
        raise DataError(f"There is a set {target.name!r} already. Choose another name, or delete it first.")
    with explain_os_error(DataError, f"{target.parent} cannot be written", "Check its permissions."):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            explain_os_error(DataError, f"{target} cannot be written", ADVICE),
            open_zip(file) as archive,
            tempfile.TemporaryDirectory(dir=_root(), prefix=".upload-") as temporary,
        ):
            members, left_out = _members(archive)
            for done, (path, info) in enumerate(members.items()):
                info.filename = path
                archive.extract(info, Path(temporary) / "images")
                if progress:
                    progress(f"Unpacking {name}", done + 1, len(members))
            unpacked = Path(temporary) / "images"
            unpacked.mkdir(exist_ok=True)
            try:
                class_folders(unpacked)
            except DataError as error:
                reasons = f" Left out: {'; '.join(left_out)}." if left_out else ""
                raise DataError(str(error).replace(f"{unpacked}", "The .zip") + reasons) from None
            unpacked.replace(target)
    except ZIP_ERRORS as error:
        raise DataError(f"This is not a readable .zip file: {error!s:.200}. Choose another file.") from None
    return UploadReport(len(members), left_out)


def add_to_upload(name: str, class_name: str, files: Iterable[tuple[str, bytes]]) -> UploadReport:
    """Adds images, each a file name and its content, to a class of a set; creates both if necessary."""
    folder = _root() / _checked(name, "set") / _checked(class_name, "class")
    left_out: list[str] = []
    num_added = 0
    with explain_os_error(DataError, f"{folder} cannot be written", ADVICE):
        for file_name, content in files:
            if Path(file_name).suffix.lower() not in SUFFIXES or not original_size(io.BytesIO(content)):
                left_out.append(f"{file_name}: not an image")
            elif len(content) > MAX_FILE_BYTES:
                left_out.append(f"{file_name}: larger than {MAX_FILE_BYTES // 2**20} MB")
            elif _write_new(folder, file_name, content):
                num_added += 1
            else:
                left_out.append(f"{file_name}: already in this class")
    return UploadReport(num_added, left_out)


def delete_upload(name: str, class_name: str = "") -> None:
    """Deletes a set or one of its classes; DataError if there is none, or if it cannot be deleted."""
    path = list_uploads().get(name)
    if path and class_name:
        path = path / _checked(class_name, "class")
    if path is None or not path.is_dir():
        raise DataError(f"There is no uploaded set {name!r} or no class {class_name!r}. Choose another one.")
    try:
        shutil.rmtree(path)
    except (OSError, RecursionError) as error:  # of thousands of folders within each other
        raise DataError(f"{path} cannot be deleted completely: {error}. Delete the rest yourself.") from None


def _root() -> Path:
    return default_data_dir() / "uploads"


def _checked(name: str, what: str) -> str:
    """The name, stripped; DataError if a folder cannot have it."""
    name = name.strip()
    is_valid = is_text(name) and name and not name.startswith(".") and len(name) <= MAX_NAME_LENGTH
    if not is_valid or re.search(r'[/\\:*?"<>|\x00-\x1f\x7f]', name):
        raise DataError(
            f"{name!r} cannot be the name of a {what}. Choose 1 to {MAX_NAME_LENGTH} characters without "
            r'/ \ : * ? " < > | that do not start with a dot.'
        )
    return name


def _write_new(folder: Path, file_name: str, content: bytes) -> bool:
    """Writes a file under a free name, unless one of the same name has the same content; returns whether it did."""
    folder.mkdir(parents=True, exist_ok=True)
    encoding = sys.getfilesystemencoding()
    stem = Path(file_name).stem.encode(encoding, "replace").decode(encoding)
    stem = re.sub(r"[^\w-]+", "_", stem)[:MAX_NAME_LENGTH] or "image"
    for number in range(MAX_FILES):
        path = folder / f"{stem}{f'-{number + 1}' if number else ''}{Path(file_name).suffix.lower()}"
        if not path.exists():
            with atomic_write(path) as file:
                file.write(content)
            return True
        if path.read_bytes() == content:
            break
    return False


def _members(archive: ZipFile) -> tuple[dict[str, ZipInfo], list[str]]:
    """The images by their paths in the set, and a line for each reason to leave files out."""
    kept: dict[str, ZipInfo] = {}
    others: dict[str, list[str]] = {}
    for info in archive.infolist():
        parts = PurePosixPath(_name_in(info).replace("\\", "/")).parts
        junk = JUNK_FOLDERS | JUNK_FILES
        is_junk = any(part.startswith(".") or part.lower() in junk for part in parts if part != "..")
        if info.is_dir() or is_junk:
            continue
        if reason := _reason_to_leave_out(info, parts):
            others.setdefault(reason, []).append(info.filename)
        else:
            kept["/".join(parts)] = info
    if len(kept) > MAX_FILES or sum(info.file_size for info in kept.values()) > MAX_BYTES:
        raise DataError(f"This .zip has more than {MAX_FILES:,} images or {MAX_BYTES // 2**30} GB. Choose another.")
    if is_bomb(kept.values()) or any(is_bomb([info]) for info in kept.values()):
        raise DataError("The compression ratio of this .zip is too high for images. Choose another file.")
    while _is_in_one_folder(kept):
        kept = {path.partition("/")[2] or path: info for path, info in kept.items()}
    left_out = [f"{len(names)} {reason}, such as {names[0]:.200}" for reason, names in sorted(others.items())]
    return kept, left_out


def _name_in(info: ZipInfo) -> str:
    """The name of a file, also if it is UTF-8 without the flag that says so, as some programs write it."""
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _is_in_one_folder(paths: Iterable[str]) -> bool:
    """Whether one folder contains all class folders; a picture beside them does not matter."""
    inside = [path.split("/") for path in paths if "/" in path]
    classes = {parts[1] for parts in inside if len(parts) > 2}
    is_class = any(len(parts) == 2 for parts in inside) and len(classes) < 2
    return len({parts[0] for parts in inside}) == 1 and bool(classes) and not is_class


def _reason_to_leave_out(info: ZipInfo, parts: tuple[str, ...]) -> str:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "links"
    if not parts or ".." in parts or parts[0] == "/" or re.match(r"[A-Za-z]:", parts[0]) or "\0" in info.filename:
        return "with paths outside of the .zip"
    if len(parts) > MAX_DEPTH or any(len(os.fsencode(part)) > MAX_PART_BYTES for part in parts):
        return "with names that are too long or too deep"
    if not info.filename.lower().endswith(SUFFIXES):
        return f"{Path(info.filename).suffix.lower() or 'files without a suffix'} files"
    if info.flag_bits & 1:
        return "encrypted"
    return f"larger than {MAX_FILE_BYTES // 2**20} MB" if info.file_size > MAX_FILE_BYTES else ""

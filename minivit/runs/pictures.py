"""A user's own pictures in a run's folder, `pictures/<id>.<format>`: the files as they were uploaded."""

import hashlib
import re
from pathlib import Path

from minivit.data.decode import SUFFIXES
from minivit.errors import RunError
from minivit.files import explain_os_error
from minivit.runs.files import replace_file
from minivit.runs.run import Run

ID_LENGTH = 16  # hex digits of the SHA-256 of the content, so equal pictures are stored once
FILE_NAME = rf"[0-9a-f]{{{ID_LENGTH}}}({'|'.join(map(re.escape, SUFFIXES))})"
MAX_PICTURES = 200


def picture_id(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:ID_LENGTH]


def save_picture(run: Run, content: bytes, suffix: str) -> None:
    """Saves a picture in the run's folder; RunError if it cannot be written or there are too many."""
    run.require_own()
    if len(saved_pictures(run)) >= MAX_PICTURES:
        raise RunError(f"The run {run.id} already has {MAX_PICTURES} saved pictures, the maximum. Remove one first.")
    with explain_os_error(RunError, f"Cannot create {_folder(run)}", "Check the permissions."):
        _folder(run).mkdir(exist_ok=True)
    replace_file(_folder(run) / f"{picture_id(content)}{suffix.lower()}", content)


def saved_pictures(run: Run) -> dict[str, Path]:
    """The files of the saved pictures by id, sorted by id; nothing else, such as folders and pipes."""
    paths = sorted(_folder(run).glob("*")) if _folder(run).is_dir() else []
    return {path.stem: path for path in paths if re.fullmatch(FILE_NAME, path.name) and path.is_file()}


def remove_picture(run: Run, picture: str) -> None:
    """Removes a saved picture, if there is one with this id; RunError if it cannot be removed."""
    if path := saved_pictures(run).get(picture):
        with explain_os_error(RunError, f"{path} cannot be removed", "Check the permissions of its folder."):
            path.unlink(missing_ok=True)


def _folder(run: Run) -> Path:
    return run.path / "pictures"

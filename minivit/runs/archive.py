"""Export of a run as a .zip file, and import of such a file, which is validated first."""

import io
import re
import tempfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from minivit.errors import RunError
from minivit.files import ZIP_ERRORS, is_bomb, open_zip
from minivit.runs.files import EXAMPLE, SWEEPS, default_runs_dir, explain_write_error, make_unique_folder
from minivit.runs.listing import find_damage
from minivit.runs.pictures import FILE_NAME as PICTURE_NAME
from minivit.runs.run import Run

# The files of a run folder in an archive, and the maximum size of each. Locks and commands are local to a machine.
MEGABYTE = 2**20
FILES = {
    r"config\.json": 8 * MEGABYTE,
    r"environment\.json": 8 * MEGABYTE,
    r"state\.json": MEGABYTE,
    r"name\.txt": MEGABYTE,
    r"sweep\.txt": MEGABYTE,
    r"lr\.txt": MEGABYTE,
    r"annotations\.json": MEGABYTE,
    r"metrics\.jsonl": 64 * MEGABYTE,
    r"log\.txt": 64 * MEGABYTE,
    r"init\.safetensors": 1024 * MEGABYTE,
    r"resume\.safetensors": 2048 * MEGABYTE,
    rf"pictures/{PICTURE_NAME}": 64 * MEGABYTE,
    r"checkpoints/epoch-\d{4,6}(-step-\d{5,8})?\.safetensors": 1024 * MEGABYTE,
}
MAX_BYTES = 4096 * MEGABYTE  # of a run, uncompressed
MAX_FILES = 25_000
# Ignored in a folder that was zipped by hand, as are hidden files, such as those of systems and of killed workers
LEFT_OUT = {"worker.lock", "control.json", "Thumbs.db", "desktop.ini"}


def pack(run: Run) -> bytes:
    """The run's folder as a .zip; RunError while a worker is training it."""
    if run.state.active:
        raise RunError(f"A worker is training the run {run.id}. Pause or stop it before you export the run.")
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for path in sorted(run.path.rglob("*")):
            name = path.relative_to(run.path).as_posix()
            if path.is_file() and _max_size(name):
                compression = ZIP_STORED if path.suffix == ".safetensors" else ZIP_DEFLATED  # weights hardly compress
                archive.write(path, f"{run.id}/{name}", compression)
    return file.getvalue()


def unpack(file: BinaryIO) -> Run:
    """The run in a .zip as a new folder of the runs folder, with its old name, plus a number if that exists.

    Accepts only the files of a run folder, writes none outside it, and reads the settings and all weights before the
    run appears there. Files that are local to a machine, such as locks, are left out. A run that was not
    complete is marked as stopped. Raises RunError for a file that is not a run, is damaged, or is too large.
    """
    root = default_runs_dir()
    with explain_write_error(root):
        root.mkdir(parents=True, exist_ok=True)
    try:
        with (
            explain_write_error(root),
            open_zip(file) as archive,
            tempfile.TemporaryDirectory(dir=root, prefix=".import-") as temporary,
        ):
            name, members = _members(archive)
            folder = Path(temporary) / "run"  # one level down, so that it is not listed as a run
            for target, member in members.items():
                member.filename = target
                archive.extract(member, folder)
            _validate(Run.open(folder))
            path = make_unique_folder(root, name)
            folder.replace(path)
    except ZIP_ERRORS as error:
        raise RunError(f"This is not a readable .zip file: {error!s:.200}. Export the run again.") from None
    return Run.open(path)


def _validate(run: Run) -> None:
    """Reads all files of an imported run; RunError if one is invalid."""
    if not run.epochs():
        raise RunError("The run in this file has no checkpoints. Export it again.")
    if damage := find_damage(run, weights=True):
        raise RunError(f"The run in this file is damaged. {' '.join(damage)} Choose another file.")
    for checkpoint in run.checkpoints():
        run.load_model(checkpoint)
    state = run.state
    if state.phase == "failed" or state.active:  # no worker of this machine is training it
        run.set_state("stopped", state.epoch, "Exported before its training was complete.")


def _members(archive: ZipFile) -> tuple[str, dict[str, ZipInfo]]:
    """The run's name, and its files by their paths in the run folder."""
    files = []
    for info in archive.infolist():
        *folders, name = PurePosixPath(info.filename).parts or ("",)
        is_left_out = name in LEFT_OUT or name.startswith(".") or "__MACOSX" in folders or "predictions" in folders
        if not (info.is_dir() or is_left_out):
            files.append(info)
    if len(files) > MAX_FILES or sum(info.file_size for info in files) > MAX_BYTES:
        raise RunError(
            f"This .zip exceeds the limits for a run, {MAX_FILES:,} files and {MAX_BYTES // 2**30} GB. "
            "Choose another file."
        )
    if is_bomb(files):
        raise RunError("The compression ratio of this .zip is too high for a run. Choose another file.")
    configs = [info.filename for info in files if PurePosixPath(info.filename).name == "config.json"]
    if len(configs) != 1:
        raise RunError(f"This .zip contains {len(configs)} config.json files, and a run has one. Choose another file.")
    prefix = configs[0].removesuffix("config.json")
    members: dict[str, ZipInfo] = {}
    for info in files:
        name = info.filename.removeprefix(prefix)
        max_size = _max_size(name) if info.filename.startswith(prefix) else 0
        if not max_size or name in members:
            raise RunError(
                f"This .zip contains {info.filename!r:.200}, which is not a file of a run. Choose another file."
            )
        if info.file_size > max_size:
            raise RunError(
                f"{info.filename!r:.200} in this .zip has {info.file_size:,} bytes; the limit is {max_size:,}. "
                "Choose another file."
            )
        if is_bomb([info]):
            raise RunError(
                f"The compression ratio of {info.filename!r:.200} is too high for a run. Choose another file."
            )
        members[name] = info
    return _run_name(prefix), members


def _run_name(prefix: str) -> str:
    """The name of the run's folder in the archive, or "imported" if a run cannot have that name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", prefix.rstrip("/").rsplit("/", 1)[-1])[:80].strip(".-")
    is_reserved = name.lower() in ("", EXAMPLE.name, SWEEPS)  # the example keeps its link
    return "imported" if is_reserved else name


def _max_size(name: str) -> int:
    """The maximum bytes of a file of a run folder by its path there; 0 if it is not a file of a run."""
    return next((size for pattern, size in FILES.items() if re.fullmatch(pattern, name, re.ASCII)), 0)

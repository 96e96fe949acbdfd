"""A run as one .zip file, to be sent to somebody; and one that somebody sent, checked before it is let in."""

import io
import re
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from minivit.errors import RunError
from minivit.runs.files import make_unused
from minivit.runs.run import Run, default_runs_dir

# The files of a run folder that travel, and how large one may be. A lock and a command belong to a machine.
MEGABYTE = 2**20
FILES = {
    r"config\.json": 8 * MEGABYTE,
    r"environment\.json": 8 * MEGABYTE,
    r"state\.json": MEGABYTE,
    r"name\.txt": MEGABYTE,
    r"metrics\.jsonl": 64 * MEGABYTE,
    r"log\.txt": 64 * MEGABYTE,
    r"resume\.safetensors": 2048 * MEGABYTE,
    r"checkpoints/epoch-\d{4,6}(-step-\d{5,8})?\.safetensors": 1024 * MEGABYTE,
}
MAX_BYTES = 4096 * MEGABYTE  # of a whole run, unpacked
MAX_FILES = 25_000


def pack(run: Run) -> bytes:
    """The run's folder as a .zip; RunError while a worker is busy with it."""
    if run.state.active:
        raise RunError(f"A worker is still busy with the run {run.id}. Pause or stop it before you take it along.")
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for path in sorted(run.path.rglob("*")):
            name = path.relative_to(run.path).as_posix()
            if path.is_file() and _limit(name):
                kind = ZIP_STORED if path.suffix == ".safetensors" else ZIP_DEFLATED  # weights hardly get smaller
                archive.write(path, f"{run.id}/{name}", kind)
    return file.getvalue()


def unpack(file: BinaryIO, runs_dir: str | Path | None = None) -> Run:
    """The run of a .zip as a new folder in `runs_dir`, named as it was there, with a number where that is taken.

    Only the files of a run folder are taken, none is written outside it, and settings and all weights are read before
    anything is seen in `runs_dir`. A run that was in training elsewhere is a stopped one here. Raises RunError for a
    file that is something else, is damaged, or is too large.
    """
    root = Path(runs_dir) if runs_dir else default_runs_dir()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with ZipFile(file) as archive, tempfile.TemporaryDirectory(dir=root, prefix=".arriving-") as arriving:
            name, members = _members(archive)
            folder = Path(arriving) / "run"  # a level below, where no list of runs looks
            (folder / "checkpoints").mkdir(parents=True)
            for target, member in members.items():
                (folder / target).write_bytes(archive.read(member))
            check(Run.open(folder))
            path = make_unused(root, name)
            folder.replace(path)
    except (BadZipFile, EOFError, RuntimeError, ValueError, zlib.error) as error:  # or a packing that zipfile lacks
        raise RunError(f"This is no .zip file that can be read: {error}. Take the run along again.") from None
    except OSError as error:
        raise RunError(f"The run cannot be written to {root}: {error.strerror or error}. Make room.") from None
    return Run.open(path)


def check(run: Run) -> None:
    """Reads all that a run from elsewhere holds; RunError where something is not what it should be."""
    if not run.epochs():
        raise RunError("The run in this file has no weights of any epoch. Take it along again.")
    for checkpoint in run.checkpoints():
        run.load_model(checkpoint)
    run.load_resume()
    state = run.state  # no worker of this machine is busy with it
    if state.phase == "failed" or state.active:
        run.set_state("stopped", state.epoch, "Came from another machine before it was done.")


def _members(archive: ZipFile) -> tuple[str, dict[str, ZipInfo]]:
    """The run's name, and the files of its folder by their place in it."""
    files = [one for one in archive.infolist() if not one.is_dir()]
    if len(files) > MAX_FILES or sum(one.file_size for one in files) > MAX_BYTES:
        raise RunError(
            f"This .zip holds more than {MAX_FILES:,} files or {MAX_BYTES // 2**30} GB; a run does not. Choose another."
        )
    configs = [one.filename for one in files if PurePosixPath(one.filename).name == "config.json"]
    if len(configs) != 1:
        raise RunError("This .zip holds no run: there is not one config.json in it. Choose another.")
    prefix = configs[0].removesuffix("config.json")
    found: dict[str, ZipInfo] = {}
    for one in files:
        place = one.filename.removeprefix(prefix)
        limit = _limit(place) if one.filename.startswith(prefix) else 0
        if not limit or place in found:
            raise RunError(f"This .zip holds {one.filename!r}, which is no file of a run. Choose another.")
        if one.file_size > limit:
            raise RunError(
                f"{one.filename!r} in this .zip has {one.file_size:,} bytes; a run's has less. Choose another."
            )
        found[place] = one
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", prefix.rstrip("/").rsplit("/", 1)[-1])[:80].strip(".-")
    return name or "imported", found


def _limit(place: str) -> int:
    """How many bytes the file at that place in a run folder may have; 0 where a run has none there."""
    return next((most for pattern, most in FILES.items() if re.fullmatch(pattern, place, re.ASCII)), 0)

"""Files that are replaced or appended to, and why they cannot be."""

import errno
import os
from functools import partial
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

from minivit.errors import RunError
from minivit.runs import files
from minivit.runs.files import append_line, is_locked, make_unique_folder, replace_file, tail


def fail(number: int, *_: object, **__: object) -> NoReturn:
    raise OSError(number, os.strerror(number))


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"line {number}\n" for number in range(100)) + "incomplete")
    lines = tail(path, 3)
    monkeypatch.setattr(files, "TAIL_BYTES", 50)
    assert tail(path, 3) == lines == ["line 97", "line 98", "line 99"]
    assert all(line.startswith("line ") for line in tail(path, 100))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some disk space and try again."),
        (errno.EDQUOT, "Free some of your disk quota and try again."),
        (errno.EACCES, "Check the permissions of its folder."),
        (errno.EROFS, "Check the permissions of its folder."),
        (errno.ENOENT, "Its folder was deleted or renamed."),
    ],
)
def test_the_advice_fits_what_kept_a_file_from_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    path = tmp_path / "name.txt"
    replace_file(path, b"before")

    monkeypatch.setattr(Path, "replace", partial(fail, number))
    with pytest.raises(RunError) as error:
        replace_file(path, b"after")
    assert str(error.value) == f"{path} cannot be written: {os.strerror(number)}. {advice}"
    assert path.read_bytes() == b"before" and list(tmp_path.glob("*name.txt*")) == [path]


def test_a_file_that_another_process_reads_is_replaced_as_soon_as_the_system_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts, replace = count(), Path.replace

    def fail_twice(path: Path, target: Path) -> Path:
        if next(attempts) < 2:
            raise PermissionError(errno.EACCES, "The process cannot access the file")  # as on Windows
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail_twice)
    replace_file(tmp_path / "name.txt", b"after")
    assert (tmp_path / "name.txt").read_bytes() == b"after"


def test_a_line_is_appended_in_place_of_an_incomplete_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for line in ("one", "two"):
        append_line(path, line)
    path.write_text(path.read_text() + "incompl")
    append_line(path, "three")
    assert path.read_text() == "one\ntwo\nthree\n"


def test_a_folder_that_exists_gets_a_number(tmp_path: Path) -> None:
    assert [make_unique_folder(tmp_path, "run").name for _ in range(3)] == ["run", "run-2", "run-3"]


def test_a_lock_that_is_held_where_its_file_system_is_writable_counts_as_held_where_it_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "worker.lock"
    lock.touch()
    with FileLock(lock):
        monkeypatch.setattr(files, "FileLock", partial(fail, errno.EROFS))
        assert is_locked(lock)
    assert not is_locked(lock)

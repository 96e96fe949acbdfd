"""A user's own pictures in a run's folder."""

import os

import pytest

from minivit.errors import RunError
from minivit.runs import pictures
from minivit.runs.pictures import picture_id, remove_picture, save_picture, saved_pictures


def test_a_kept_picture_is_the_uploaded_file_under_the_id_of_its_content(run):
    save_picture(run, b"content", ".PNG")
    save_picture(run, b"content", ".png")
    (path,) = saved_pictures(run).values()
    assert (path.read_bytes(), path.name) == (b"content", f"{picture_id(b'content')}.png")
    remove_picture(run, picture_id(b"content"))
    assert not saved_pictures(run)


def test_other_files_in_the_folder_are_no_pictures(run):
    save_picture(run, b"content", ".png")
    folder, names = run.path / "pictures", [f"{index:016x}.png" for index in range(3)]
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    (folder / f"{3:016x}.exe").write_bytes(b"MZ")
    (folder / names[0]).mkdir()
    (folder / names[1]).symlink_to(names[1])
    os.mkfifo(folder / names[2])
    assert list(saved_pictures(run)) == [picture_id(b"content")]
    for index in range(3):
        remove_picture(run, f"{index:016x}")


def test_a_run_keeps_a_limited_number_of_pictures(run, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PICTURES", 1)
    save_picture(run, b"one", ".png")
    with pytest.raises(RunError, match="already has 1 saved pictures"):
        save_picture(run, b"two", ".png")

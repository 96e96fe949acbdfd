"""A user's own pictures in a run's folder."""

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
    (run.path / "pictures" / "notes.txt").write_text("x", encoding="utf-8")
    assert list(saved_pictures(run)) == [picture_id(b"content")]


def test_a_run_keeps_a_limited_number_of_pictures(run, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PICTURES", 1)
    save_picture(run, b"one", ".png")
    with pytest.raises(RunError, match="already has 1 saved pictures"):
        save_picture(run, b"two", ".png")

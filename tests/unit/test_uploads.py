"""Uploaded sets: unpacked inside their folder or not at all, extended, and deleted."""

import io
import stat
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest
from pictures import picture

from minivit.data import load_images, uploads
from minivit.data.uploads import add_to_upload, delete_upload, list_uploads, unpack_upload
from minivit.errors import DataError

pytestmark = pytest.mark.usefixtures("own_data")


def png(number: int) -> bytes:
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


def zipped(*names: str, **others: bytes) -> io.BytesIO:
    """A .zip of images under these names, and of other files."""
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, png(number))
        for name, content in others.items():
            archive.writestr(name, content)
    file.seek(0)
    return file


PETS = ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")


@pytest.mark.parametrize("around", ["", "pets/", "Users/me/pets/"])
def test_a_zip_becomes_a_folder_of_classes_whatever_lies_around_them(around: str) -> None:
    report = unpack_upload(zipped(*(around + name for name in PETS)), "my pets")
    assert (report.num_added, report.left_out) == (4, [])
    assert load_images("folder", data_dir=list_uploads()["my pets"]).counts == {"cat": 2, "dog": 2}


def test_a_picture_beside_the_class_folders_does_not_matter() -> None:
    unpack_upload(zipped("pets/title.png", "cover.png", *(f"pets/{name}" for name in PETS)), "pets")
    assert load_images("folder", data_dir=list_uploads()["pets"]).counts == {"cat": 2, "dog": 2}


def test_names_in_utf8_without_the_flag_that_says_so_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setattr(ZipInfo, "_encodeFilenameFlags", lambda info: (info.filename.encode(), info.flag_bits))
        file = zipped("Käfer/0.png", "Mücke/0.png")
    unpack_upload(file, "insects")
    assert set(load_images("folder", data_dir=list_uploads()["insects"]).classes) == {"Käfer", "Mücke"}


def test_a_refused_zip_says_what_was_left_out() -> None:
    with pytest.raises(
        DataError, match=r"no class folders with images.* Left out: 2 \.cr2 files, such as cat/0\.CR2\."
    ):
        unpack_upload(zipped("cat/0.CR2", "dog/0.cr2"), "pets")


def test_parts_stay_parts() -> None:
    unpack_upload(zipped(*(f"pets/{part}/{name}" for part in ("train", "test") for name in PETS)), "pets")
    assert load_images("folder", data_dir=list_uploads()["pets"], split="test").counts == {"cat": 2, "dog": 2}


def test_what_is_no_image_is_left_out_and_named(own_data: Path) -> None:
    names = ("../../evil.png", "/etc/evil.png", "cat/../../evil.png", "C:/evil.png")
    file = zipped(*PETS, *names, **{"cat/notes.txt": b"x", "__MACOSX/cat/._0.png": b"x", "cat/.DS_Store": b"x"})
    link = ZipInfo("cat/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    report = unpack_upload(file, "pets")
    assert report.num_added == 4
    assert report.left_out == [
        "1 .txt files, such as cat/notes.txt",
        "1 links, such as cat/link.png",
        "4 with paths outside of the .zip, such as ../../evil.png",
    ]
    assert not [path for path in own_data.parent.rglob("*") if "evil" in path.name or path.is_symlink()]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (lambda: io.BytesIO(b"no zip"), "not a readable .zip"),
        (lambda: io.BytesIO(zipped(*PETS).getvalue()[:-40]), "not a readable .zip"),
        (lambda: zipped("cat/0.png"), "The .zip contains 1 class folder, 'cat'"),
        (lambda: zipped("0.png"), "no class folders with images"),
        (lambda: zipped(**{"a/b.txt": b"x"}), "no class folders with images"),
        (lambda: zipped(*PETS, "cat/0.png/1.png"), "Rename files and folders of the same name"),
        (lambda: zipped("cat/0.png/1.png", *PETS), "Rename files and folders of the same name"),
    ],
)
def test_invalid_uploads_are_refused_and_leave_nothing(own_data: Path, file, words: str) -> None:
    with pytest.raises(DataError, match=words):
        unpack_upload(file(), "pets")
    assert not list((own_data / "uploads").iterdir())


def test_limits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_FILES", 3)
    with pytest.raises(DataError, match="more than 3 images"):
        unpack_upload(zipped(*PETS), "pets")
    monkeypatch.setattr(uploads, "MAX_FILES", 9)
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="no class folders with images"):
        unpack_upload(zipped(*PETS), "pets")


@pytest.mark.parametrize("name", ["", " ", "..", ".hidden", "a/b", "a\\b", "x" * 61, "a\0b"])
def test_names_that_no_folder_can_have_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="cannot be the name of a set"):
        unpack_upload(zipped(*PETS), name)
    with pytest.raises(DataError, match="cannot be the name of a class"):
        add_to_upload("pets", name, [("a.png", png(1))])


def test_a_name_that_file_names_of_this_locale_cannot_contain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_write_new", lambda *_: "Käfer".encode("ascii"))  # as mkdir does in the C locale
    with pytest.raises(DataError, match=r"in this locale \(ascii\) cannot contain 'ä'. Choose another name."):
        add_to_upload("insects", "Käfer", [("0.png", png(0))])


def test_images_are_added_class_by_class_and_the_set_is_deleted() -> None:
    files = [("a.png", png(1)), ("a.png", png(2)), ("a.png", png(1)), ("x.txt", png(1)), ("x.png", b"text")]
    first = add_to_upload("pets", "cat", files)
    assert first.left_out == ["a.png: already in this class", "x.txt: not an image", "x.png: not an image"]
    assert first.num_added == 2
    assert not add_to_upload("pets", "empty", [("x.txt", b"")]).num_added
    assert not (list_uploads()["pets"] / "empty").exists()
    add_to_upload("pets", "-dog", [("../../b.png", png(3))])
    images = load_images("folder", data_dir=list_uploads()["pets"])
    assert images.counts == {"-dog": 1, "cat": 2} and not images.skipped
    with pytest.raises(DataError, match="There is a set 'pets' already"):
        unpack_upload(zipped(*PETS), "pets")
    delete_upload("pets", "-dog")
    assert [path.name for path in list_uploads()["pets"].iterdir()] == ["cat"]
    for name in ("-dog", "../.."):
        with pytest.raises(DataError):
            delete_upload("pets", name)
    delete_upload("pets")
    assert not list_uploads()
    with pytest.raises(DataError, match="There is no uploaded set 'pets'"):
        delete_upload("pets")

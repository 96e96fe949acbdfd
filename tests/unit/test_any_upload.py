"""Whatever an upload is called and contains, it becomes a set inside the folder of uploads or leaves nothing."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode
from zipfile import ZipFile, ZipInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import picture

from minivit.config import TrainConfig, preset
from minivit.data import uploads
from minivit.data.folder import list_classes
from minivit.data.uploads import add_to_upload, delete_upload, list_uploads, unpack_upload
from minivit.errors import ConfigError, DataError
from minivit.runs import Run

ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Cs"]), max_size=70)
NAMES = ("..", ".", "", "cat", "dog", "train", "test", "C:", "~", "__MACOSX", ".hidden", "CON", "a" * 300)
PATHS = st.lists(st.sampled_from(NAMES) | ANY_TEXT, min_size=1, max_size=4).map("/".join)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of uploads of all examples, each of which empties it."""
    root = tmp_path_factory.mktemp("data") / "uploads"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(uploads, "_root", lambda: root)
        yield root


@pytest.fixture(scope="module")
def image() -> bytes:
    file = io.BytesIO()
    picture(0).save(file, "PNG")
    return file.getvalue()


def fresh(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()


def entries(root: Path) -> set[Path]:
    return set(root.parent.rglob("*"))


@given(name=st.just("pets") | ANY_TEXT, class_name=st.just("cat") | ANY_TEXT, file_name=ANY_TEXT)
def test_images_of_any_name_are_added_to_a_class_of_any_name_or_refused(
    name: str, class_name: str, file_name: str, root: Path, image: bytes
) -> None:
    fresh(root)
    try:
        report = add_to_upload(name, class_name, [(f"{file_name}a.png", image), (f"{file_name}b.png", image)])
    except DataError as error:
        str(error).encode()
        assert entries(root) == {root}
        return
    assert (report.num_added, report.left_out) == (2, [])
    assert list(list_uploads()) == [name.strip()]
    folder = root / name.strip() / class_name.strip()
    assert {path.parent for path in root.rglob("*.png")} == {folder}
    delete_upload(name.strip())
    assert entries(root) == {root}


@given(data=st.data(), name=ANY_TEXT)
def test_an_archive_with_anything_in_it_becomes_a_set_or_leaves_nothing(
    data: st.DataObject, name: str, root: Path, image: bytes
) -> None:
    fresh(root)
    members = dict.fromkeys(("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"), image)
    for path in data.draw(st.lists(PATHS, max_size=4)):
        members[path + data.draw(st.sampled_from(("", ".png", ".PNG", ".zip")))] = data.draw(
            st.just(image) | st.binary(max_size=50)
        )
    file = io.BytesIO()
    with ZipFile(file, "w") as archive, pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            ZipInfo, "_encodeFilenameFlags", lambda info: (info.filename.encode(errors="surrogatepass"), 0x800)
        )
        for path, content in members.items():
            info = ZipInfo()
            info.filename, info.external_attr = path, data.draw(st.integers(0, 2**32 - 1))
            archive.writestr(info, content)
    try:
        report = unpack_upload(file, name)
    except DataError as error:
        str(error).encode()
        assert entries(root) == {root}
        return
    "\n".join(report.left_out).encode()
    (folder,) = list_uploads().values()
    assert len(list_classes(folder)) >= 2 and entries(root) - {root, folder} == set(folder.rglob("*"))
    assert all((path.is_file() or path.is_dir()) and not path.is_symlink() for path in folder.rglob("*"))


@given(classes=st.lists(ANY_TEXT, min_size=2, max_size=4, unique=True), data_dir=ANY_TEXT)
def test_a_run_of_classes_of_any_name_is_opened_as_it_was_created(
    classes: list[str], data_dir: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        config: TrainConfig = preset("article").changed(dataset="folder", classes=tuple(classes), data_dir=data_dir)
    except ConfigError as error:
        str(error).encode()
        return
    run = Run.create(config, tmp_path_factory.getbasetemp() / "any-classes")
    assert Run.open(run.path).config == config
    assert parse_qs(urlencode({"run": run.id}))["run"] == [run.id] and run.id.isascii()
    shutil.rmtree(run.path)

"""Pipes, devices, loops of links and very deep folders in place of images, models and runs are reported within 5 s."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minivit.data import check, load_images
from minivit.data.decode import image_format, original_size, read_picture
from minivit.data.folder import ignored_files, original_sizes
from minivit.errors import MiniViTError
from minivit.imports import ImportOptions, import_model
from minivit.runs import Run
from minivit.runs.archive import unpack

pytestmark = pytest.mark.timeout(300)  # what blocks fails
CPU_SECONDS = 5  # the CPU time within which a path is reported, however busy the machine is
SECONDS = 30
LEVELS = 1200


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_pipe(path: Path) -> None:
    pipe(path.with_name(f".{path.name}"))
    path.symlink_to(path.with_name(f".{path.name}"))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


def loop(path: Path) -> None:
    path.symlink_to(path)


def loop_above(path: Path) -> None:
    path.symlink_to(path.parent)


KINDS = (pipe, link_to_pipe, device, terminal, loop, loop_above)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders within each other, the innermost with an image; their paths are longer than the system allows."""
    path, cwd = tmp_path_factory.mktemp("deep"), Path.cwd()
    os.chdir(path)
    for _ in range(LEVELS):
        Path("folder").mkdir()
        os.chdir("folder")
    Path("image.png").touch()
    os.chdir(cwd)
    yield path
    subprocess.run(["rm", "-rf", path], check=True)  # which has no limit for depths


@pytest.fixture(params=[*KINDS, "deep"], ids=lambda kind: getattr(kind, "__name__", kind))
def odd(request: pytest.FixtureRequest, deep: Path) -> Callable[[Path], None]:
    """Makes something odd at a path."""
    return (lambda path: path.symlink_to(deep)) if request.param == "deep" else request.param


@pytest.fixture
def folder(image_folder: Path, tmp_path: Path) -> Path:
    """A copy of the images."""
    return Path(shutil.copytree(image_folder / "test", tmp_path / "images"))


def in_time(function: Callable[[], object]) -> str:
    """The user error that a function raises, or "" """
    start = time.monotonic()
    cpu_start = time.process_time()
    try:
        function()
        return ""
    except MiniViTError as error:
        return str(error)
    finally:
        assert time.process_time() - cpu_start < CPU_SECONDS
        assert time.monotonic() - start < SECONDS


def test_as_the_folder_of_images(odd: Callable[[Path], None], folder: Path, tiny) -> None:
    odd(folder.with_name("odd"))
    config = tiny.changed(dataset="folder", data_dir=str(folder.with_name("odd")))
    assert in_time(lambda: load_images("folder", data_dir=config.data_dir)) or odd is loop_above
    assert in_time(lambda: check(config))
    in_time(lambda: ignored_files(config.data_dir, "article"))


@pytest.mark.parametrize("name", ["odd", "circle/odd", "circle/odd.png", "circle/odd.jpg"])
def test_within_the_folder_of_images_it_is_left_out(odd: Callable[[Path], None], name: str, folder: Path, tiny) -> None:
    odd(folder / name)
    config = tiny.changed(dataset="folder", data_dir=str(folder))
    images = load_images("folder", data_dir=folder)
    assert images.counts["circle"] >= 10 and images.counts["cross"] == 10
    for look in (
        lambda: load_images("folder", data_dir=folder),
        lambda: check(config),
        lambda: ignored_files(folder, "article"),
        lambda: original_sizes(folder, ["circle", "star"]),
        lambda: original_size(folder / name),
        lambda: read_picture(folder / name, image_format(config)),
    ):
        in_time(look)


def test_as_a_model_or_beside_one(odd: Callable[[Path], None], folder: Path, tmp_path: Path) -> None:
    def report(path: Path, class_names: Path | None = None) -> str:
        return in_time(lambda: import_model(path, folder, ImportOptions(class_names=class_names)))

    for name in ("model", "model.safetensors", "model.pth", "deep/model.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        odd(tmp_path / name)
        assert report(tmp_path / name)
    for number, names in enumerate((["model.safetensors"], ["pytorch_model.bin"], ["model.safetensors.index.json"])):
        directory = tmp_path / f"directory {number}"
        directory.mkdir()
        for name in (*names, "config.json", "preprocessor_config.json"):
            odd(directory / name)
            assert report(directory)
    assert report(folder / "circle" / "0000.png", tmp_path / "model")


def test_as_a_run_or_an_archive(odd: Callable[[Path], None], folder: Path, tmp_path: Path) -> None:
    odd(tmp_path / "run")
    assert in_time(lambda: Run.open(tmp_path / "run"))
    assert in_time(lambda: Run.open(tmp_path / "run" / ("name" * 100)))
    with (folder / "circle" / "0000.png").open("rb") as file:
        assert in_time(lambda: unpack(file))

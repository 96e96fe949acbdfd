"""Every test has its own data, runs and locks folder, and a small real data set of drawn images as PNG files."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from PIL import Image

from minivit.config import TrainConfig, preset
from minivit.data import shapes_drawing

TESTS = Path(__file__).parent

os.environ["OMP_NUM_THREADS"] = "1"  # of servers and workers: with more, they wait for each other on a busy machine
os.environ["TORCHINDUCTOR_VEC_ISA_OK"] = "1"  # otherwise each process that compiles finds out for 6 s

# A busy machine is no fault of the code; the examples are the same in every run. More and others:
# python -m pytest --hypothesis-profile=long tests/unit
hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=5_000, print_blob=True)
hypothesis.settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--variants", type=int, default=20, help="damaged run folders in tests/faults")
    parser.addoption("--page-variants", type=int, default=3, help="others, opened by every page")
    parser.addoption("--first-variant", type=int, default=0, help="to try many of them in several runs")
    parser.addoption("--stop-seconds", type=float, default=60.0, help="2: every way to stop in every phase")
    parser.addoption("--disk", default="", help="an empty small file system that tests/faults may fill")
    parser.addoption("--full-disks", type=int, default=2, help="trainings that run out of space in tests/faults")
    parser.addoption("--kills", type=int, default=6, help="SIGKILLs of trainings in tests/faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The directories with the longest files come first: no process begins one when the others are done."""
    order = ("faults", "browser", "app", "unit")
    items.sort(key=lambda item: order.index(item.path.relative_to(TESTS).parts[0]))


# Files of tests/browser whose tests share a server
SHARED = {
    "dashboard": ("bad_input", "export", "links", "looks", "own_pictures", "teaching"),
    "component_app": ("curves_gallery_confusion", "inspector_in_app"),
}
SERVER_OF = {f"tests/browser/test_{name}.py": server for server, names in SHARED.items() for name in names}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each file goes to one process as a whole, and those with the same server to the same."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return SERVER_OF.get(file, file)

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches a person's data or runs; drawn images are shared between tests, since they never change."""
    data = tmp_path_factory.getbasetemp() / "data"
    for name, path in {"DATA": data, "RUNS": tmp_path / "runs", "LOCKS": tmp_path / "locks"}.items():
        path.mkdir(exist_ok=True)
        monkeypatch.setenv(f"MINIVIT_{name}", str(path))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder tree train|test/<class>/*.png of 3 classes with 30 and 10 images."""
    root = tmp_path_factory.mktemp("images")
    classes = ("circle", "star", "cross")
    for part, count, seed in (("train", 30, 0), ("test", 10, 1)):
        for name in classes:
            folder = root / part / name
            folder.mkdir(parents=True)
            for number, image in enumerate(shapes_drawing.draw(name, count, seed=seed)[0]):
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:04}.png")
    return root


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    """Settings that train in a second: 2 drawn classes of 60 images, two small layers of two heads."""
    return preset("article").changed(
        dataset="shapes",
        classes=("circle", "star"),
        images_per_class=60,
        patch_size=8,
        embed_dim=16,
        depth=2,
        num_heads=2,
        epochs=3,
        batch_size=32,
        device="cpu",
        threads=1,
    )


@pytest.fixture(scope="session")
def packages_are_scanned_once() -> Iterator[None]:
    """Each AppTest looks for components of Streamlit in all installed packages, which takes longer than most pages."""
    from streamlit.components.v2 import manifest_scanner  # which most tests do without

    with pytest.MonkeyPatch.context() as patched:
        name = "scan_component_manifests"
        patched.setattr(manifest_scanner, name, cache(getattr(manifest_scanner, name)))
        yield


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny tensors are fastest on one thread, also when tests share the machine."""
    torch.set_num_threads(1)

"""Uploaded archives and model files are read or refused in a sentence: none runs code, escapes, or leaves a part.

python -m pytest tests/faults/test_hostile_files.py                     all by hand, and 20 damaged at random
python -m pytest tests/faults/test_hostile_files.py --variants 1000     the long version
"""

import io
import json
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from zipfile import ZipFile

import pytest
from safetensors.torch import save_file
from torch import Tensor

from minivit.config import TrainConfig
from minivit.data import load_images
from minivit.data.uploads import delete_upload, unpack_upload
from minivit.engine import SILENT, train
from minivit.errors import MiniViTError
from minivit.export.model_files import timm_checkpoint
from minivit.imports import ImportOptions, import_model
from minivit.model import MiniViT
from minivit.runs import Run, find_damage
from minivit.runs.archive import pack, unpack
from tests.faults import hostile_files, hostile_pickles

MAX_BYTES = 300 * 2**20
Check = Callable[[str, Callable[[], object]], bool]
Variants = Callable[[bytes], Iterator[tuple[str, bytes]]]


def memory(name: str) -> int:
    """Bytes of this process in /proc/self/status: VmRSS, or VmHWM, the maximum since it was reset."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in text.splitlines() if line.startswith(name)).split()[1])


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Calls a function that may raise a user error; whether it succeeded. Nothing may be left that was not there."""

    def call(name: str, function: Callable[[], object]) -> bool:
        before = set(tmp_path.rglob("*"))
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
        start = memory("VmRSS")
        resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + 10 * MAX_BYTES, -1))  # so that the machine survives
        try:
            function()
            success = True
        except MiniViTError as error:
            assert len(str(error)) < 2000, name
            success = False
        except Exception as error:
            raise AssertionError(name) from error
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        taken = memory("VmHWM") - start
        assert taken < MAX_BYTES, f"{name}: {taken / 2**20:.0f} MB"
        assert not any(Path("/tmp").glob("minivit-evil*")), name
        left = set(tmp_path.rglob("*")) - before
        assert all(path.is_dir() or (path.is_file() and not path.is_symlink()) for path in left), name
        assert success or not left, (name, left)
        return success

    return call


@pytest.fixture
def damaged(request: pytest.FixtureRequest) -> Variants:
    """A file, damaged by one seed after another."""
    count = request.config.getoption("--variants") // 4

    def variants(content: bytes) -> Iterator[tuple[str, bytes]]:
        for seed in range(count):
            yield f"seed {seed}", hostile_files.flipped(content, random.Random(seed))

    return variants


def test_a_hostile_archive_of_a_run_is_refused_or_read(
    check: Check, damaged: Variants, tiny: TrainConfig, tmp_path: Path
) -> None:
    run, runs = Run.create(tiny.changed(epochs=1, depth=1)), tmp_path / "runs"
    train(run.config, run, SILENT)
    archive, checkpoint = pack(run), run.checkpoint_path(1).read_bytes()
    member = f"{run.id}/checkpoints/epoch-0001.safetensors"

    def open_and_delete(content: bytes) -> None:
        unpacked = unpack(io.BytesIO(content))
        assert unpacked.path.parent == runs and unpacked.epochs() and not unpacked.state.active
        find_damage(unpacked)
        unpacked.delete()

    variants = hostile_files.archives(archive, run.id, f"{run.id}/metrics.jsonl", ".jsonl")
    for name, content in chain(variants, damaged(archive)):
        check(name, partial(open_and_delete, content))
    for name, content in chain(hostile_files.safetensors_files(checkpoint), damaged(checkpoint)):
        replaced = hostile_files.rewrite(
            archive, partial(ZipFile.writestr, zinfo_or_arcname=member, data=content), member
        )
        check(f"weights {name}", partial(open_and_delete, replaced))
    assert [entry.name for entry in runs.iterdir()] == [run.id]


def test_a_hostile_archive_of_images_is_refused_or_read(
    check: Check, damaged: Variants, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "data"))
    uploads = tmp_path / "data" / "uploads"
    uploads.mkdir(parents=True)
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for path in sorted((image_folder / "test").rglob("*.png")):
            archive.write(path, path.relative_to(image_folder / "test"))

    def upload_and_delete(content: bytes) -> None:
        unpack_upload(io.BytesIO(content), "evil")
        try:
            assert len(load_images("folder", data_dir=uploads / "evil"))
        finally:
            delete_upload("evil")
            shutil.rmtree(tmp_path / "data" / "cache", ignore_errors=True)

    variants = hostile_files.archives(file.getvalue(), "circle", "circle/0000.png", ".png")
    for name, content in chain(variants, damaged(file.getvalue())):
        check(name, partial(upload_and_delete, content))
        assert not any(uploads.iterdir()), name


@pytest.fixture
def imported(check: Check, image_folder: Path, tmp_path: Path) -> Callable[[str, Path], bool]:
    """Whether a model is imported from a path; its run is deleted."""

    def call(name: str, path: Path) -> bool:
        options = ImportOptions(num_heads=2)
        return check(name, lambda: import_model(path, image_folder, options, tmp_path / "runs").delete())

    return call


@pytest.fixture
def model(tiny: TrainConfig) -> MiniViT:
    return MiniViT(tiny.changed(norm="pre", depth=1).model)


def weights_of(model: MiniViT) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name not in ("mean", "std")}


def test_a_hostile_model_file_is_refused_or_read(
    imported: Callable[[str, Path], bool], damaged: Variants, model: MiniViT, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    content, path = timm_checkpoint(model, ["circle", "star"]), tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert imported("as it was", path)
    for name, changed in chain(hostile_files.safetensors_files(content), damaged(content)):
        path.write_bytes(changed)
        imported(name, path)
    path.unlink()
    content, path = hostile_pickles.saved(weights_of(model)), tmp_path / "model.pth"
    path.write_bytes(content)
    assert imported("as it was", path)
    for name, changed in chain(hostile_pickles.pickles(weights_of(model), marker), damaged(content)):
        path.write_bytes(changed)
        imported(name, path)
        assert not marker.exists(), name


def test_a_directory_of_a_model_with_hostile_settings_is_refused_or_read(
    imported: Callable[[str, Path], bool], model: MiniViT, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(weights_of(model), folder / "model.safetensors")
    files = {"config.json": hostile_files.HUGGING_FACE, "preprocessor_config.json": hostile_files.PREPROCESSOR}
    for file, settings in files.items():
        for name, changed in hostile_files.mistyped(settings):
            (folder / file).write_text(json.dumps(changed), encoding="utf-8")
            imported(f"{file} {name}", folder)
        (folder / file).write_text(json.dumps(settings), encoding="utf-8")
        assert imported(f"{file} as it was", folder)
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    for name, changed in hostile_files.mistyped(hostile_files.INDEX):
        (folder / "model.safetensors.index.json").write_text(json.dumps(changed), encoding="utf-8")
        imported(f"index {name}", folder)

"""Data sets larger than memory: mapped files against plain tensors, and a process whose memory is watched."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from minivit.config import TrainConfig, preset
from minivit.data import BatchSource, ImageSet, batches, decode, load_images, load_split
from minivit.data.cache import cached
from minivit.data.image_set import ClassImages, MappedImages, memory_limit
from minivit.engine import SILENT, train
from minivit.engine.training import Training
from minivit.errors import DataError
from minivit.inference import predict_run
from minivit.runs import Run
from tests.forks import finish, fork

CPU = torch.device("cpu")


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image may stay in memory."""
    monkeypatch.setenv("MINIVIT_MEMORY", "0")


def parts(*lengths: int) -> list[Tensor]:
    numbers = torch.arange(sum(lengths) * 2).to(torch.uint8).reshape(-1, 2)
    return list(numbers.split(list(lengths)))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any), st.data())
def test_mapped_images_give_what_a_tensor_gives(lengths: list[int], data: st.DataObject) -> None:
    complete = torch.cat(parts(*lengths))
    order = torch.tensor(data.draw(st.permutations(range(len(complete)))))
    mapped, plain = MappedImages(parts(*lengths)).select(order), complete[order]
    rows = st.integers(-len(complete), len(complete) - 1)
    indices = data.draw(
        st.one_of(rows, st.lists(rows, min_size=1), st.slices(len(complete)).filter(lambda s: (s.step or 1) > 0))
    )
    assert torch.equal(mapped[indices], plain[indices])
    assert torch.equal(mapped[torch.arange(len(complete))], plain) and len(mapped) == len(plain)
    assert mapped.shape == plain.shape and mapped.nbytes == plain.nbytes
    for ours, theirs in zip(mapped.split(2), plain.split(2), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("split", ["article", "official"])
def test_a_split_that_is_only_looked_at_stays_in_files_beyond_a_limit(image_folder: Path, split: str) -> None:
    config = preset("article").changed(
        dataset="folder", data_dir=str(image_folder), classes=("circle", "star"), split=split
    )
    for mapped, plain in zip(load_split(config, max_bytes=1000), load_split(config), strict=True):
        assert isinstance(mapped.images, MappedImages) and isinstance(plain.images, Tensor)
        assert torch.equal(mapped.images[:], plain.images) and torch.equal(mapped.labels, plain.labels)


def test_a_quarter_of_the_memory_is_for_images_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MINIVIT_MEMORY", raising=False)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr("minivit.data.image_set.CGROUP_LIMIT", tmp_path / "max")
    assert memory_limit() == there // 4
    (tmp_path / "max").write_text("max\n")  # a container without a limit
    assert memory_limit() == there // 4
    (tmp_path / "max").write_text("4000000\n")
    assert memory_limit() == 1_000_000
    monkeypatch.setenv("MINIVIT_MEMORY", "300")
    assert memory_limit() == 300_000_000


@pytest.mark.parametrize("options", [{"img_size": 32}, {"img_size": 16, "in_chans": 1}])
@pytest.mark.parametrize("dataset", ["folder", "shapes"])
def test_images_on_disk_are_those_in_memory(
    dataset: Any, options: dict[str, int], own_data: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> ImageSet:
        where = str(image_folder) if dataset == "folder" else ""
        return load_images(dataset, data_dir=where, classes=("star", "circle"), images_per_class=9, **options)

    plain = load()
    assert isinstance(plain.images, Tensor)
    monkeypatch.setenv("MINIVIT_MEMORY", "0")
    for mapped in (load(), load()):  # decoded, and found in the cache
        assert isinstance(mapped.images, MappedImages)
        assert mapped.fingerprint() == plain.fingerprint() and mapped.counts == plain.counts
        if plain.masks is not None:
            assert mapped.masks is not None and torch.equal(mapped.masks[:], plain.masks[:])
        some = mapped.select([5, 1])
        assert isinstance(some.images, MappedImages) and torch.equal(some.images[:], plain.images[[5, 1]])


def test_training_from_disk_is_training_from_memory(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.changed(epochs=2, augment="flip-crop")

    def trained() -> Run:
        run = Run.create(config)
        train(config, run, SILENT)
        return run

    def kept(run: Run) -> list[Any]:
        return [[row["train_loss"], row["test_loss"], row["test_acc"]] for row in run.metrics()]

    plain = trained()
    monkeypatch.setenv("MINIVIT_MEMORY", "0")
    mapped = trained()
    assert kept(mapped) == kept(plain)
    assert "on disk" in mapped.environment["images"] and "on cpu" in plain.environment["images"]
    assert mapped.environment["data_fingerprint"] == plain.environment["data_fingerprint"]
    assert predict_run(mapped).accuracy == mapped.metrics()[-1]["test_acc"]


def test_a_test_split_on_disk_gives_the_metrics_of_one_in_memory_while_the_training_images_are_there() -> None:
    config = preset("article")
    train_set = ImageSet(torch.arange(8 * 3 * 32**2).view(8, 3, 32, 32).byte(), torch.arange(8) % 4, config.classes)
    on_disk = ImageSet(MappedImages([train_set.images]), train_set.labels, train_set.classes)
    plain, mapped = (Training(config, CPU, train_set, test_set)._evaluate() for test_set in (train_set, on_disk))
    assert mapped == pytest.approx(plain)


def test_a_batch_is_the_requested_one_whatever_was_prefetched(tiny: TrainConfig, on_disk: None) -> None:
    images, _ = load_split(tiny)
    batches = BatchSource(images, CPU)
    first, second = torch.tensor([3, 0, 7]), torch.tensor([1, 1, 2, 9])
    for indices, next_indices in ((first, second), (second, first), (second, None), (first, first), (first, None)):
        assert torch.equal(batches.get_batch(indices, next_indices), images.images[indices])
    assert torch.equal(batches.labels, images.labels) and batches.storage_device == CPU and len(batches) == len(images)


def test_images_go_to_a_gpu_where_half_of_its_free_memory_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    images, gpu = torch.zeros(10, 3, 8, 8, dtype=torch.uint8), torch.device("cuda")
    for free, fits in ((2 * images.nbytes, True), (2 * images.nbytes - 2, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 10**12))
        assert batches._fits_on_device(images, gpu) is fits


# The cache is written piece by piece


def test_a_class_whose_last_files_are_broken_keeps_the_others(
    own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: None
) -> None:
    monkeypatch.setattr(decode, "CHUNK_PIXELS", 2 * 32**2)
    for name, colors in {"cat": (10, 20, 30), "dog": (40,)}.items():
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number, color in enumerate(colors):
            Image.new("RGB", (32, 32), (color,) * 3).save(tmp_path / f"pets/{name}/{number}.png")
    for number in range(3, 7):
        (tmp_path / f"pets/cat/{number}.png").write_bytes(b"no image")
    for _ in range(2):
        image_set = load_images("folder", data_dir=tmp_path / "pets")
        assert image_set.images[:][:, 0, 0, 0].tolist() == [10, 20, 30, 40] and len(image_set.skipped) == 4


def test_only_a_few_images_are_decoded_ahead_of_the_disk(
    own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "CHUNK_PIXELS", 32**2)
    paths = [f"{number}.png" for number in range(40 * (os.cpu_count() or 1))]
    for path in paths:
        Image.new("RGB", (32, 32)).save(tmp_path / path)
    decoded: list[Path] = []
    decode_image = decode.decode_image
    monkeypatch.setattr(decode, "decode_image", lambda path, *rest: decoded.append(path) or decode_image(path, *rest))
    pieces = decode.decode_files([tmp_path / path for path in paths], (32, 3, None), lambda _: None)
    next(pieces)
    pieces.close()
    assert len(decoded) < len(paths) / 2


def test_a_partly_written_file_is_never_taken_for_complete(own_data: Path) -> None:
    images = torch.arange(60).to(torch.uint8).reshape(5, 3, 2, 2)

    def half() -> Any:
        yield ClassImages(images[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("some", "key", half)
    assert not list((own_data / "cache").iterdir())
    complete = cached("some", "key", lambda: [ClassImages(images[:2]), ClassImages(images[2:])])
    assert torch.equal(complete.images, images)
    path = own_data / "cache/some.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    again = cached("some", "key", lambda: [ClassImages(images.flip(0))])
    assert torch.equal(again.images, images.flip(0))


def test_images_without_room_in_memory_and_on_disk_are_refused(
    own_data: Path, image_folder: Path, on_disk: None
) -> None:
    own_data.write_text("a file where the data folder should be", encoding="utf-8")
    with pytest.raises(DataError, match="exceed the memory limit"):
        load_images("folder", data_dir=image_folder)


WATCHED = """
import json, os, threading
from pathlib import Path
import torch
from minivit.config import TrainConfig
from minivit.engine import SILENT, train
from minivit.runs import Run

def held():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024  # mapped files aside: the system takes those back

def peak(config):
    highest, done = [held()], threading.Event()
    def watch():
        while not done.wait(0.001):
            highest.append(held())
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    run = Run.create(config)
    train(config, run, SILENT)
    done.set()
    watcher.join()
    return max(highest)

config = TrainConfig.model_validate_json(settings)
os.environ["MINIVIT_MEMORY"] = "0"
few = peak(config.changed(images_per_class=160))  # as many as one batch of the evaluation holds out
streamed = peak(config)
os.environ["MINIVIT_MEMORY"] = "1000"
print(json.dumps([few, streamed, peak(config)]))
"""


def test_training_takes_less_memory_than_its_images(own_data: Path, tmp_path: Path) -> None:
    side, count = 128, 800  # large beside what the allocator holds on to
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        first = tmp_path / "pets" / name / "0.png"
        Image.radial_gradient("L").resize((side, side)).convert("RGB").save(first, compress_level=1)
        for number in range(1, count):
            first.with_name(f"{number}.png").hardlink_to(first)
    config = preset("article").changed(
        dataset="folder", data_dir=str(tmp_path / "pets"), classes=("cat", "dog"), img_size=side, patch_size=32,
        epochs=1, batch_size=16, device="cpu", threads=1,
    )  # fmt: skip
    output = tmp_path / "output"
    code = finish([fork(exec, WATCHED, {"settings": config.model_dump_json()}, output=output)])
    assert code == [0], output.read_text()
    few, streamed, in_memory = json.loads(output.read_text().splitlines()[-1])
    size = 2 * count * 3 * side**2
    assert streamed - few < size / 2 < 0.9 * size < in_memory - few, (few, streamed, in_memory, size)

"""Published sets: real archives over a real server on this machine."""

import gzip
import hashlib
import io
import pickle  # noqa: TID251, the format of CIFAR's own files
import struct
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torchvision import datasets

from minivit import data
from minivit.config import DATASETS
from minivit.data import load_images
from minivit.data.batches import resize
from minivit.errors import DataError

pytestmark = pytest.mark.usefixtures("own_data")


Files = dict[str, bytes]  # what a server holds, by path


class Site:
    """A web server on this machine; `cut` breaks every transfer off half way, `hits` counts requests."""

    def __init__(self, root: Path) -> None:
        site = self
        self.root, self.cut, self.hits = root, False, 0

        class Handler(SimpleHTTPRequestHandler):
            def copyfile(self, source: Any, outputfile: Any) -> None:
                site.hits += 1
                content = source.read()
                outputfile.write(content[: len(content) // 2] if site.cut else content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    yield site
    site.close()


class OldPickler(pickle.Pickler):
    """Writes arrays as the Python 2 did that made CIFAR's files."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def publish_cifar(site: Site, patch: pytest.MonkeyPatch, dataset: str, images: np.ndarray, labels: list[int]) -> None:
    """CIFAR's archive: pickles of rows of 3072 bytes, in a tar.gz; the last sixth is the test split."""
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
    names = [name for name, _ in kind.train_list + kind.test_list]
    names_of_classes = data.list_classes(dataset)  # type: ignore[arg-type]
    num_test = len(images) // 6
    bounds = [*np.linspace(0, len(images) - num_test, len(names)).astype(int).tolist(), len(images)]
    files: Files = {kind.meta["filename"]: pickle.dumps({kind.meta["key"]: list(names_of_classes)}, protocol=2)}
    for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True):
        rows = images[start:stop].transpose(0, 3, 1, 2).reshape(-1, 3072)
        content = io.BytesIO()
        key = "labels" if dataset == "cifar10" else "fine_labels"
        OldPickler(content, protocol=2).dump({"data": rows, key: labels[start:stop], "filenames": []})
        files[name] = content.getvalue()
    with tarfile.open(site.root / kind.filename, "w:gz") as archive:
        for name, content_bytes in files.items():
            info = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            info.size = len(content_bytes)
            archive.addfile(info, io.BytesIO(content_bytes))
    patch.setattr(kind, "url", site.url + kind.filename)
    patch.setattr(kind, "tgz_md5", md5((site.root / kind.filename).read_bytes()))
    patch.setattr(kind, "train_list", [[name, md5(files[name])] for name in names[:-1]])
    patch.setattr(kind, "test_list", [[names[-1], md5(files[names[-1]])]])
    patch.setattr(kind, "meta", {**kind.meta, "md5": md5(files[kind.meta["filename"]])})


def publish_fashion(site: Site, patch: pytest.MonkeyPatch, dataset: str, images: np.ndarray, labels: list[int]) -> None:
    """Fashion-MNIST's four gz files: sizes as big-endian integers, then bytes."""
    cut = len(images) - len(images) // 6
    resources = []
    for part, rows in (("train", slice(cut)), ("t10k", slice(cut, None))):
        gray = images[rows, :28, :28, 0]
        for name, head, body in (
            (f"{part}-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, *gray.shape), gray.tobytes()),
            (f"{part}-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, len(gray)), bytes(labels[rows])),
        ):
            (site.root / name).write_bytes(gzip.compress(head + body))
            resources.append((name, md5((site.root / name).read_bytes())))
    patch.setattr(datasets.FashionMNIST, "mirrors", [site.url])
    patch.setattr(datasets.FashionMNIST, "resources", resources)


def publish_svhn(site: Site, patch: pytest.MonkeyPatch, dataset: str, images: np.ndarray, labels: list[int]) -> None:
    """SVHN's two MATLAB files: images in the last dimension, and 10 for the digit 0."""
    from scipy.io import savemat

    cut = len(images) - len(images) // 6
    listed = {}
    for part, rows in (("train", slice(cut)), ("test", slice(cut, None))):
        name = f"{part}_32x32.mat"
        digits = np.array([[label or 10] for label in labels[rows]], np.uint8)
        savemat(site.root / name, {"X": images[rows].transpose(1, 2, 3, 0), "y": digits}, do_compression=True)
        listed[part] = [site.url + name, name, md5((site.root / name).read_bytes())]
    patch.setattr(datasets.SVHN, "split_list", listed)


PUBLISHERS: dict[str, Callable[..., None]] = {
    "cifar10": publish_cifar,
    "cifar100": publish_cifar,
    "fashion_mnist": publish_fashion,
    "svhn": publish_svhn,
}


@pytest.fixture(params=PUBLISHERS)
def published(
    request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, np.ndarray, list[int]]:
    """A data set on the web as its makers publish it, only smaller: name, all images (N, H, W, C), all labels."""
    dataset: str = request.param
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (120, 32, 32, 3), np.uint8)
    num_classes = len(data.list_classes(dataset))  # type: ignore[arg-type]
    labels = np.concatenate([rng.permutation(100), rng.permutation(20)]) % num_classes
    PUBLISHERS[dataset](site, monkeypatch, dataset, images, labels.tolist())
    if dataset == "fashion_mnist":
        images = images[:, :28, :28, :1]
    return dataset, images, labels.tolist()


only_cifar10 = pytest.mark.parametrize("published", ["cifar10"], indirect=True)
Published = tuple[Any, np.ndarray, list[int]]


def test_a_published_set_is_downloaded_checked_and_read_in_its_own_order(published: Published, own_data: Path) -> None:
    dataset, images, labels = published
    reports: list[tuple[str, int, int]] = []
    assert not data.is_present(dataset)
    data.download(dataset, progress=lambda *step: reports.append(step))
    assert data.is_present(dataset)
    assert reports[0][0].startswith("Downloading") and all(0 < done <= total for _, done, total in reports)
    image_set = load_images(dataset, images_per_class=0)
    assert image_set.classes == data.list_classes(dataset) and image_set.labels.tolist() == labels[:100]
    assert torch.equal(image_set.images.permute(0, 2, 3, 1), torch.from_numpy(images[:100]))
    left = {path.name for path in own_data.rglob("*") if path.name.endswith((".gz", ".part"))}
    assert not left, "archives that are no longer needed were kept"


def test_the_test_part_of_a_published_set_is_its_own(published: Published) -> None:
    dataset, images, labels = published
    data.download(dataset)
    names = [data.list_classes(dataset)[label] for label in (labels[100], labels[101])]
    image_set = load_images(dataset, classes=names, split="test")
    rows = [row for row in range(100, 120) if labels[row] in (labels[100], labels[101])]
    assert torch.equal(image_set.images.permute(0, 2, 3, 1), torch.from_numpy(images[rows]))
    assert image_set.labels.tolist() == [[labels[100], labels[101]].index(labels[row]) for row in rows]


@only_cifar10
def test_classes_of_a_published_set_keep_its_order_and_the_limit_takes_the_first(published: Published) -> None:
    dataset, images, labels = published
    data.download(dataset)
    image_set = load_images(dataset, classes=["truck", "cat"], images_per_class=4)
    cats, trucks = ([row for row in range(100) if labels[row] == label][:4] for label in (3, 9))
    rows = sorted(cats + trucks)
    assert torch.equal(image_set.images.permute(0, 2, 3, 1), torch.from_numpy(images[rows]))
    assert image_set.labels.tolist() == [0 if labels[row] == 9 else 1 for row in rows]
    small = load_images(dataset, classes=["truck", "cat"], images_per_class=4, img_size=16, in_chans=1)
    assert torch.equal(small.images, resize(image_set.images, 16, 1))


@only_cifar10
def test_an_interrupted_download_is_never_taken_for_complete(published: Published, site: Site, own_data: Path) -> None:
    site.cut = True
    with pytest.raises(DataError, match=r"download of CIFAR-10 .* is incomplete or was changed.*--dataset shapes"):
        data.download("cifar10")
    assert not data.is_present("cifar10") and not list(own_data.glob("*cifar10.part"))
    site.cut = False
    data.download("cifar10")
    assert len(load_images("cifar10")) == 100


@only_cifar10
def test_an_archive_that_was_changed_is_refused(published: Published, site: Site) -> None:
    with (site.root / "cifar-10-python.tar.gz").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match="incomplete or was changed"):
        data.download("cifar10")
    assert not data.is_present("cifar10")


@only_cifar10
def test_a_stopped_download_leaves_nothing_and_what_a_killed_one_left_is_removed(
    published: Published, own_data: Path
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.download("cifar10", progress=stop)
    assert not data.is_present("cifar10") and not (own_data / ".cifar10.part").exists()
    (own_data / ".cifar10.part").mkdir()
    (own_data / ".cifar10.part/cifar-10-python.tar.gz").write_bytes(b"half")
    data.download("cifar10")
    assert not (own_data / ".cifar10.part").exists() and len(load_images("cifar10", split="test")) == 20


def test_without_a_network_other_ways_are_offered(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", site.url + "nothing-here.tar.gz")
    with pytest.raises(DataError, match=r"\(File not found\)"):
        data.download("cifar10")
    site.close()
    with pytest.raises(DataError, match=r"cannot be downloaded .*refused.*--dataset shapes.*--dataset folder"):
        data.download("cifar10", tmp_path / "elsewhere")


@only_cifar10
def test_loading_never_downloads(published: Published, site: Site, own_data: Path) -> None:
    with pytest.raises(DataError, match=r"`python -m minivit download cifar10`.*--dataset shapes"):
        load_images("cifar10")
    assert site.hits == 0 and not own_data.exists()


@only_cifar10
def test_a_download_appears_only_when_it_is_complete(published: Published, own_data: Path) -> None:
    def check(task: str, done: int, total: int) -> None:
        assert all(path.name.startswith(".") for path in own_data.iterdir()) and not data.is_present("cifar10")

    data.download("cifar10", progress=check)
    assert data.is_present("cifar10")


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_damaged_published_set_is_refused(published: Published, own_data: Path, damage: bytes) -> None:
    dataset, _, _ = published
    data.download(dataset)
    (own_data / DATASETS[dataset].files[0]).write_bytes(damage)
    with pytest.raises(DataError, match=r"is damaged .*Download it again"):
        load_images(dataset)


@only_cifar10
def test_a_complete_set_is_not_downloaded_again_and_a_damaged_one_is_replaced(
    published: Published, site: Site, own_data: Path
) -> None:
    data.download("cifar10")
    data.download("cifar10")
    assert site.hits == 1
    (own_data / "cifar-10-batches-py/data_batch_2").write_bytes(b"half")
    with pytest.raises(DataError, match=r"is damaged .*Download it again"):
        load_images("cifar10")
    data.download("cifar10")
    assert site.hits == 2 and len(load_images("cifar10")) == 100


@only_cifar10
def test_two_downloads_of_one_set_do_not_meet(published: Published, own_data: Path) -> None:
    own_data.mkdir()
    with FileLock(own_data / ".cifar10.lock"), pytest.raises(DataError, match=r"already being downloaded into"):
        data.download("cifar10")
    data.download("cifar10")


@only_cifar10
def test_a_download_that_cannot_be_saved_is_refused(published: Published, own_data: Path) -> None:
    own_data.write_text("a file", encoding="utf-8")
    with pytest.raises(DataError, match=r"CIFAR-10 cannot be saved in"):
        data.download("cifar10")
    assert not data.is_present("cifar10")


def test_what_is_not_published_is_not_downloaded() -> None:
    for dataset in ("folder", "shapes"):
        with pytest.raises(DataError, match=r"needs no download"):
            data.download(dataset)  # type: ignore[arg-type]


def test_class_names_are_known_before_the_download() -> None:
    assert data.list_classes("cifar10")[3] == "cat" and data.list_classes("svhn") == tuple("0123456789")
    assert data.list_classes("fashion_mnist") == tuple(datasets.FashionMNIST.classes)
    cifar100 = DATASETS["cifar100"].classes
    assert len(set(cifar100)) == 100 and list(cifar100) == sorted(cifar100)
    assert data.is_present("shapes")

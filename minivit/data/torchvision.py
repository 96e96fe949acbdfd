"""Published data sets by way of torchvision: what there is, whether it is here, download, read."""

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, get_args
from urllib.request import Request, urlopen

import torch
from filelock import FileLock, Timeout

from minivit.config import CIFAR10_CLASSES, Dataset
from minivit.data.cache import root_of
from minivit.data.image_set import ImageSet, Progress
from minivit.errors import DataError

OTHERWISE = (
    "Without a network choose the data set 'shapes', which is drawn here (--dataset shapes), "
    "or your own images (--dataset folder --data-dir DIR)."
)
DAMAGE = (OSError, RuntimeError, ValueError, LookupError, AssertionError)  # of a file, as torchvision takes it
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)  # fmt: skip


FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A data set of torchvision's; all paths are relative to its `root`."""

    title: str
    kind: str  # the name of torchvision's class, which is imported when it is needed: that takes two seconds
    classes: tuple[str, ...]
    files: tuple[str, ...]  # what the class reads
    archives: Callable[[Any], list[tuple[str, str, str]]]  # class -> url, path, md5
    num_bytes: int  # of all archives


def _one_archive(kind: Any) -> list[tuple[str, str, str]]:
    return [(kind.url, kind.filename, kind.tgz_md5)]


PUBLISHED = {
    "cifar10": Published(
        "CIFAR-10", "CIFAR10", CIFAR10_CLASSES,
        files=tuple(
            f"cifar-10-batches-py/{name}"
            for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
        ),
        archives=_one_archive, num_bytes=170_498_071,
    ),
    "cifar100": Published(
        "CIFAR-100", "CIFAR100", CIFAR100_CLASSES,
        files=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        archives=_one_archive, num_bytes=169_001_437,
    ),
    "fashion_mnist": Published(
        "Fashion-MNIST", "FashionMNIST", FASHION_CLASSES,
        files=tuple(
            f"FashionMNIST/raw/{part}-{what}-ubyte"
            for part in ("train", "t10k")
            for what in ("images-idx3", "labels-idx1")
        ),
        archives=lambda kind: [
            (kind.mirrors[0] + name, f"FashionMNIST/raw/{name}", md5) for name, md5 in kind.resources
        ],
        num_bytes=30_878_645,
    ),
    "svhn": Published(
        "SVHN", "SVHN", tuple("0123456789"),
        files=("train_32x32.mat", "test_32x32.mat"),
        archives=lambda kind: [tuple(kind.split_list[part]) for part in ("train", "test")], num_bytes=246_316_178,
    ),
}  # fmt: skip


def find(dataset: str) -> Published:
    """The published set of this name; DataError where there is none."""
    if dataset not in PUBLISHED:
        raise DataError(f"There is no data set {dataset!r}. Choose from {', '.join(get_args(Dataset))}.")
    return PUBLISHED[dataset]


def is_present(dataset: str, data_dir: str | Path) -> bool:
    """Whether all files are here, by their names alone."""
    with suppress(OSError):
        return all((root_of(data_dir) / file).is_file() for file in find(dataset).files)
    return False


def check(dataset: str, data_dir: str | Path) -> None:
    """DataError, with what to do, where the set is not here."""
    if not is_present(dataset, data_dir):
        raise DataError(
            f"{find(dataset).title} is not in {root_of(data_dir)}. Download it, with the button on the Data page or "
            f"`python -m minivit download {dataset}`. {OTHERWISE}"
        )


def read(
    dataset: str, data_dir: str | Path, part: str, classes: Sequence[str], *, images_per_class: int,
    progress: Progress | None = None,
) -> ImageSet:  # fmt: skip
    """The images of these classes in data-set order and native size. DataError where the set is missing or damaged."""
    published, root = find(dataset), root_of(data_dir)
    check(dataset, data_dir)
    if progress:
        progress(f"Reading {published.title}", 0, 1)
    try:
        raw = _open(published, root, part)
    except DAMAGE as error:
        raise DataError(
            f"{published.title} in {root} is damaged ({error}). Download it again, with the button on the Data page "
            f"or `python -m minivit download {dataset}`."
        ) from error
    label_of = torch.full((len(published.classes),), -1)
    label_of[[published.classes.index(name) for name in classes]] = torch.arange(len(classes))
    labels = label_of[torch.as_tensor(raw.labels if published.kind == "SVHN" else raw.targets)]
    if images_per_class:
        for label in range(len(classes)):
            labels[(labels == label).nonzero()[images_per_class:]] = -1
    rows = (labels >= 0).nonzero().flatten()
    images = torch.as_tensor(raw.data)
    if images.ndim == 3:  # grey, (N, H, W)
        images = images[:, None]
    elif images.shape[3] == 3:  # (N, H, W, C)
        images = images.permute(0, 3, 1, 2)
    if progress:
        progress(f"Reading {published.title}", 1, 1)
    return ImageSet(images[rows].contiguous(), labels[rows], tuple(classes))


def download(dataset: str, data_dir: str | Path, progress: Progress | None) -> None:
    """Fetch a data set, unless it is whole already; it appears in its place only when it is whole.

    Everything happens in a hidden folder beside that place, which is removed whatever comes. DataError without a
    network, for a file that arrives damaged, and where nothing can be written.
    """
    published, root = find(dataset), root_of(data_dir)
    beside = root / f".{dataset}.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{dataset}.lock", timeout=0):
            if _is_whole(published, root):
                return
            try:
                shutil.rmtree(beside, ignore_errors=True)
                _fetch(published, beside, progress)
                _move_in(published, beside, root)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except Timeout:
        raise DataError(f"{published.title} is being downloaded into {root} already. Wait until it is here.") from None
    except OSError as error:
        raise DataError(
            f"{published.title} cannot be kept in {root} ({error.strerror or error}). "
            "Give permission, make room, or name another data folder."
        ) from error


def _fetch(published: Published, into: Path, progress: Progress | None) -> None:
    """Download, check and unpack into a folder of its own."""
    from torchvision.datasets.utils import check_integrity

    archives, done = published.archives(_kind(published)), 0
    for url, name, md5 in archives:
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for chunk in _chunks(published, url):
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(f"Downloading {published.title}", min(done, published.num_bytes), published.num_bytes)
        if not check_integrity(path, md5):
            raise DataError(f"{published.title} arrived from {url} cut off or changed. Try again later. {OTHERWISE}")
    if progress:
        progress(f"Unpacking {published.title}", published.num_bytes, published.num_bytes)
    for part in ("train", "test"):
        _open(published, into, part, download=True)  # finds the archives there, unpacks and checks them
    for _, name, _ in archives:
        if name not in published.files:
            (into / name).unlink()


def _chunks(published: Published, url: str) -> Iterator[bytes]:
    try:
        with urlopen(Request(url, headers={"User-Agent": "MiniViT"}), timeout=30) as response:
            while chunk := response.read(2**18):
                yield chunk
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)  # URLError wraps what the system said
        reason = getattr(reason, "strerror", None) or reason
        raise DataError(
            f"{published.title} cannot be downloaded from {url} ({reason}). Mend the network and try again. {OTHERWISE}"
        ) from error


def _move_in(published: Published, beside: Path, root: Path) -> None:
    for name in sorted({Path(file).parts[0] for file in published.files}):
        with suppress(FileNotFoundError):
            (root / name).replace(beside / f"broken-{name}")  # what stood there was not whole
        (beside / name).replace(root / name)


def _is_whole(published: Published, root: Path) -> bool:
    try:
        for part in ("train", "test"):
            _open(published, root, part)
    except DAMAGE:
        return False
    return True


def _open(published: Published, root: Path, part: str, download: bool = False) -> Any:
    which: dict[str, Any] = {"split": part} if published.kind == "SVHN" else {"train": part == "train"}
    with warnings.catch_warnings():  # old pickles and tar files make newer numpy and Python complain
        warnings.simplefilter("ignore")
        return _kind(published)(root, **which, download=download)


def _kind(published: Published) -> Any:
    from torchvision import datasets

    return getattr(datasets, published.kind)

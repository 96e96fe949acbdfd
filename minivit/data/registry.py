"""The reader of each data set; its facts are in `minivit.config.datasets`."""

from pathlib import Path
from typing import Protocol

from minivit.config import DATASETS, Dataset
from minivit.data import folder, shapes
from minivit.data.image_set import ImageRequest, ImageSet, Progress
from minivit.data.torchvision import TorchvisionReader
from minivit.errors import DataError


class Reader(Protocol):
    """What `minivit.data` needs to read a data set; every method may raise DataError."""

    def list_classes(self, data_dir: str | Path) -> tuple[str, ...]:
        """The classes in data-set order, without reading an image."""

    def is_present(self, data_dir: str | Path) -> bool:
        """Whether the images can be read without a download, judged by file names alone."""

    def check(self, data_dir: str | Path, split: str) -> None:
        """DataError if the images for a `TrainConfig.split` are missing; none is read."""

    def read(self, request: ImageRequest, progress: Progress | None) -> ImageSet:
        """The images in data-set order; in their own size and channels if the files are not decoded anew."""


DOWNLOADS = {
    "cifar10": TorchvisionReader("cifar10", "CIFAR10"),
    "cifar100": TorchvisionReader("cifar100", "CIFAR100"),
    "fashion_mnist": TorchvisionReader("fashion_mnist", "FashionMNIST"),
    "svhn": TorchvisionReader("svhn", "SVHN"),
}
READERS: dict[str, Reader] = {**DOWNLOADS, "folder": folder, "shapes": shapes}


def find_reader(dataset: Dataset) -> Reader:
    if dataset not in READERS:
        raise DataError(f"There is no data set {dataset!r}. Choose from {', '.join(DATASETS)}.")
    return READERS[dataset]

"""Data sets that torchvision provides: download, check, read."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import torch
from filelock import FileLock, Timeout

from minivit.config import DATASETS, Dataset
from minivit.data.cache import resolve_data_dir
from minivit.data.image_set import ImageRequest, ImageSet, Progress
from minivit.errors import DataError

ALTERNATIVES = (
    "Without a network, choose the synthetic shapes (--dataset shapes) or your own images "
    "(--dataset folder --data-dir DIR)."
)
DAMAGE_ERRORS = (OSError, RuntimeError, ValueError, LookupError, AssertionError)  # raised for damaged files
DOWNLOAD_CHUNK_BYTES = 2**18


class TorchvisionReader:
    """Reads and downloads CIFAR-10, CIFAR-100, Fashion-MNIST (four gz files) or SVHN (a MATLAB file for each split)."""

    def __init__(self, dataset: Dataset, class_name: str) -> None:
        self.dataset = dataset
        self.class_name = class_name
        self.info = DATASETS[dataset]

    @property
    def torchvision_class(self) -> Any:
        """torchvision's class, imported when it is needed: the import takes two seconds."""
        from torchvision import datasets

        return getattr(datasets, self.class_name)

    def archives(self) -> list[tuple[str, str, str]]:
        """URL, path below the data folder and MD5 of every file to download."""
        source = self.torchvision_class
        match self.dataset:
            case "fashion_mnist":
                return [(source.mirrors[0] + name, f"FashionMNIST/raw/{name}", md5) for name, md5 in source.resources]
            case "svhn":
                return [tuple(source.split_list[split]) for split in ("train", "test")]
        return [(source.url, source.filename, source.tgz_md5)]

    def list_classes(self, data_dir: str | Path = "") -> tuple[str, ...]:
        return self.info.classes

    def is_present(self, data_dir: str | Path) -> bool:
        with suppress(OSError):
            return all((resolve_data_dir(data_dir) / file).is_file() for file in self.info.files)
        return False

    def read(self, request: ImageRequest, progress: Progress | None = None) -> ImageSet:
        """The images in data-set order and native size. DataError if the data set is missing or damaged."""
        root = resolve_data_dir(request.data_dir)
        self.check(root)
        if progress:
            progress(f"Reading {self.info.title}", 0, 1)
        try:
            dataset = self._open(root, request.split)
        except DAMAGE_ERRORS as error:
            raise DataError(
                f"{self.info.title} in {root} is damaged ({error}). {self._how_to_download('Download it again')}"
            ) from error
        label_of = torch.full((len(self.info.classes),), -1)
        label_of[[self.info.classes.index(name) for name in request.classes]] = torch.arange(len(request.classes))
        labels = label_of[torch.as_tensor(dataset.labels if self.dataset == "svhn" else dataset.targets)]
        if request.images_per_class:
            for label in range(len(request.classes)):
                labels[(labels == label).nonzero()[request.images_per_class :]] = -1
        rows = (labels >= 0).nonzero().flatten()
        images = torch.as_tensor(dataset.data)
        if images.ndim == 3:  # grayscale, (N, H, W)
            images = images[:, None]
        elif images.shape[3] == 3:  # (N, H, W, C)
            images = images.permute(0, 3, 1, 2)
        if progress:
            progress(f"Reading {self.info.title}", 1, 1)
        return ImageSet(images[rows].contiguous(), labels[rows], request.classes)

    def download(self, data_dir: str | Path, progress: Progress | None = None) -> None:
        """Downloads the set unless it is complete; its files appear under their names only when all are complete.

        Until then they are in a hidden folder, which is always removed. DataError without a network, for a
        damaged file, and if the data folder cannot be written.
        """
        root = resolve_data_dir(data_dir)
        temporary = root / f".{self.dataset}.part"
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{self.dataset}.lock", timeout=0):
                if self._is_complete(root):
                    return
                try:
                    shutil.rmtree(temporary, ignore_errors=True)
                    self._fetch(temporary, progress)
                    for name in sorted({Path(file).parts[0] for file in self.info.files}):
                        with suppress(FileNotFoundError):
                            (root / name).replace(temporary / f"broken-{name}")  # an incomplete earlier copy
                        (temporary / name).replace(root / name)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
        except Timeout:
            raise DataError(
                f"{self.info.title} is already being downloaded into {root}. Wait until that has finished."
            ) from None
        except OSError as error:
            raise DataError(
                f"{self.info.title} cannot be saved in {root} ({error.strerror or error}). "
                "Fix the permissions, free some space, or choose another data folder."
            ) from error

    def check(self, data_dir: str | Path, official: bool = False) -> None:
        if not self.is_present(data_dir):
            raise DataError(
                f"{self.info.title} is not in {resolve_data_dir(data_dir)}. {self._how_to_download('Download it')} "
                f"{ALTERNATIVES}"
            )

    def _how_to_download(self, action: str) -> str:
        return f"{action}, with the button on the Data page or `python -m minivit download {self.dataset}`."

    def _fetch(self, folder: Path, progress: Progress | None) -> None:
        """Downloads, checks and unpacks into `folder`."""
        from torchvision.datasets.utils import check_integrity

        archives = self.archives()
        total = self.info.download_bytes
        done = 0
        for url, name, md5 in archives:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for chunk in self._stream(url):
                    file.write(chunk)
                    done += len(chunk)
                    if progress:
                        progress(f"Downloading {self.info.title}", min(done, total), total)
            if not check_integrity(path, md5):
                raise DataError(
                    f"The download of {self.info.title} from {url} is incomplete or was changed. Try again later. "
                    f"{ALTERNATIVES}"
                )
        if progress:
            progress(f"Unpacking {self.info.title}", total, total)
        for split in ("train", "test"):
            self._open(folder, split, download=True)  # unpacks the archives that are there, and checks them
        for _, name, _ in archives:
            if name not in self.info.files:
                (folder / name).unlink()

    def _stream(self, url: str) -> Iterator[bytes]:
        try:
            request = Request(url, headers={"User-Agent": "MiniViT"})  # noqa: S310, one of torchvision's addresses
            with urlopen(request, timeout=30) as response:  # noqa: S310
                while chunk := response.read(DOWNLOAD_CHUNK_BYTES):
                    yield chunk
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)  # URLError wraps the system's error
            reason = getattr(reason, "strerror", None) or reason
            raise DataError(
                f"{self.info.title} cannot be downloaded from {url} ({reason}). "
                f"Check the network and try again. {ALTERNATIVES}"
            ) from error

    def _is_complete(self, root: Path) -> bool:
        try:
            for split in ("train", "test"):
                self._open(root, split)
        except DAMAGE_ERRORS:
            return False
        return True

    def _open(self, root: Path, split: str, download: bool = False) -> Any:
        with warnings.catch_warnings():  # old pickles and tar files make newer numpy and Python complain
            warnings.simplefilter("ignore")
            which = {"split": split} if self.dataset == "svhn" else {"train": split == "train"}
            return self.torchvision_class(root, **which, download=download)

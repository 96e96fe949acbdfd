"""Any data set by its name: its reader, its classes, its images, and its training and test split.

The facts of the data sets are in `minivit.config.datasets`."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from minivit.config import DATASETS, Dataset, Preprocessing, TrainConfig
from minivit.data import folder, shapes
from minivit.data.batches import resize, resize_chunk
from minivit.data.cache import cached, digest, resolve_data_dir
from minivit.data.image_set import (
    CHUNK_BYTES,
    ClassImages,
    ImageRequest,
    Images,
    ImageSet,
    Progress,
    concatenate_classes,
    memory_limit,
    row_chunks,
)
from minivit.data.torchvision import TorchvisionReader
from minivit.errors import DataError


class Reader(Protocol):
    """What `minivit.data` needs to read a data set; every method may raise DataError."""

    def list_classes(self, data_dir: str | Path) -> tuple[str, ...]:
        """The classes in data-set order, without reading an image."""

    def is_present(self, data_dir: str | Path) -> bool:
        """Whether the images can be read without a download, judged by file names alone."""

    def check(self, data_dir: str | Path, official: bool) -> None:
        """DataError if the images, or those of an `official` test split, are missing; none is read."""

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


Split = Literal["train", "test"]
MIN_TEST_IMAGES = 20  # below this a warning is shown
MAX_LISTED = 20  # files that cannot be decoded
MAX_INSPECTED_BYTES = 2**28  # of images in memory on pages and for imported models, which are not trained


def load_images(
    dataset: Dataset,
    *,
    data_dir: str | Path = "",
    classes: Sequence[str] | None = None,
    split: Split = "train",
    img_size: int | None = None,
    in_chans: int | None = None,
    images_per_class: int = 0,
    preprocessing: Preprocessing | None = None,
    drawing: int = 2,
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """The images of one split, "train" or "test"; `classes` None: all; `img_size` and `in_chans` None: the set's own.

    `images_per_class` keeps the first n of each class, 0 all; `drawing` is that of `TrainConfig`; a folder's images
    beyond `max_bytes` stay on disk. Nothing is downloaded. DataError if the set is missing or unreadable, for an
    unknown class, and for a class without images.
    """
    reader = find_reader(dataset)
    info = DATASETS[dataset]
    request = ImageRequest(
        split=split,
        classes=_check_classes(dataset, reader.list_classes(data_dir), classes),
        img_size=info.img_size if img_size is None else img_size,
        in_chans=info.in_chans if in_chans is None else in_chans,
        images_per_class=images_per_class,
        data_dir=data_dir,
        preprocessing=preprocessing,
        drawing=drawing,
        max_bytes=max_bytes,
    )
    if request.in_chans not in (1, 3):
        raise DataError(f"Images have 1 channel (grayscale) or 3 (RGB), not {request.in_chans}. Choose 1 or 3.")
    images = reader.read(request, progress)
    for name, count in images.counts.items():
        if not count:
            raise DataError(f"The {split} split of {dataset} has no image of the class {name!r}. Leave the class out.")
    return _resized(images, request.img_size, request.in_chans)


def load_split(
    config: TrainConfig, progress: Progress | None = None, max_bytes: int | None = None
) -> tuple[ImageSet, ImageSet]:
    """The training images and the test images, with the size and channels of `config.model`.

    'official' tests on the data set's own test split, 'article' on a fifth of the training split. All images of an
    imported model, which was trained elsewhere, are test images. If a split has more than `max_bytes`, its images stay
    in files. DataError as in `load_images`, and for a class with a single image.
    """
    if config.imported:
        test_set = _load_for_imported(config, progress)
        return test_set.select([]), test_set
    images = _load_images(config, progress, max_bytes)
    if config.split == "official":
        train_set, test_set = images, _load_images(config, progress, max_bytes, split="test")
    else:
        train, test = _split_training_images(config, images)
        train_set, test_set = images.select(train), images.select(test)
    if config.drop_duplicates:
        train_set = train_set.select((~duplicates(train_set, test_set)).nonzero().flatten())
        if missing := [name for name, count in train_set.counts.items() if not count]:
            raise DataError(
                f"All images of the class {missing[0]!r} duplicate test images. Turn 'Drop duplicates' off."
            )
    if config.shuffle_labels:  # as in Adebayo's data randomization test (1810.03292)
        order = torch.randperm(len(train_set), generator=torch.Generator().manual_seed(config.seed))
        train_set = replace(train_set, labels=train_set.labels[order])
    return train_set, test_set


def _split_training_images(config: TrainConfig, images: ImageSet) -> tuple[list[int], list[int]]:
    """The article's split; by class in a folder without a test split, and where the article's leaves out a class."""
    indices = article_split(len(images))
    if config.dataset == "folder" and config.stratify:  # not in runs of earlier versions
        has_test_split = "test" in folder.split_folders(resolve_data_dir(config.data_dir))
        if not has_test_split or any(len(images.labels[each].unique()) < len(images.classes) for each in indices):
            return stratified_split(images)
    return indices


def stratified_split(images: ImageSet) -> tuple[list[int], list[int]]:
    """Indices of training and test images: each class shuffled with seed 42 and split at 80%."""
    if single := [name for name, count in images.counts.items() if count < 2]:
        counts = ", ".join(f"{name} {count}" for name, count in images.counts.items())
        raise DataError(
            f"Each class needs at least 2 images, one for training and one for testing. Images per class: {counts}. "
            f"Add images of {', '.join(single)}."
        )
    train: list[int] = []
    test: list[int] = []
    for label in range(len(images.classes)):
        indices = (images.labels == label).nonzero().flatten().tolist()
        random.Random(42).shuffle(indices)
        num_test = max(1, round(0.2 * len(indices)))
        train += indices[num_test:]
        test += indices[:num_test]
    return train, test


def duplicates(train_set: ImageSet, test_set: ImageSet) -> Tensor:
    """Which training images are identical to a test image, bool (N,)."""
    test = set(_hashes(test_set))
    return torch.tensor([value in test for value in _hashes(train_set)], dtype=torch.bool)


def _hashes(image_set: ImageSet) -> Iterator[int]:
    """A hash of each image, 64 bits: the probability that any two of a million images share one is below 10⁻⁷."""
    for chunk in row_chunks(image_set.images):
        for image in chunk.numpy():
            yield hash(image.tobytes())


def data_warnings(config: TrainConfig, train_set: ImageSet, test_set: ImageSet) -> list[str]:
    """Warnings about these images, one sentence each: too few or duplicate ones, and files that were left out."""
    lines = []
    if not config.imported:
        if len(test_set) < MIN_TEST_IMAGES:
            lines.append(f"There are only {len(test_set)} test images, so accuracies are very uncertain.")
        if config.dataset == "folder" and (count := int(duplicates(train_set, test_set).sum())):
            lines.append(
                f"{count} training images are identical to a test image. Turn on 'Drop duplicates' to leave them out."
            )
    if config.dataset == "folder":
        lines += [f"Left out: {line}" for line in folder.ignored_files(config.data_dir, config.split == "official")]
    # Without duplicates: if both sets come from one folder, each lists all of its files
    skipped = list(dict.fromkeys((*train_set.skipped, *test_set.skipped)))
    lines += [f"Cannot be decoded: {line}" for line in skipped[:MAX_LISTED]]
    if len(skipped) > MAX_LISTED:
        lines.append(f"{len(skipped) - MAX_LISTED} more cannot be decoded.")
    return lines


def _load_images(config: TrainConfig, progress: Progress | None, max_bytes: int | None, **which: Any) -> ImageSet:
    """The images of `config`; `which` replaces its classes and the training split."""
    return load_images(
        config.dataset,
        data_dir=config.data_dir,
        **{"classes": config.classes, **which},
        img_size=config.model.img_size,
        in_chans=config.model.in_chans,
        images_per_class=config.images_per_class,
        preprocessing=config.preprocessing,
        drawing=config.drawing,
        max_bytes=max_bytes,
        progress=progress,
    )


def _load_for_imported(config: TrainConfig, progress: Progress | None) -> ImageSet:
    """All images in the folder of an imported model; labels from `num_classes` on are classes that it lacks."""
    folders = list_classes("folder", config.data_dir)
    images = _load_images(config, progress, MAX_INSPECTED_BYTES, classes=folders)
    label_of = {name: label for label, name in enumerate(config.classes)}
    labels = [label_of.get(name, label_of.get(f"{name} (no class of this model)")) for name in folders]  # of older runs
    if None in labels:
        new = folders[labels.index(None)]
        raise DataError(f"The folder {new!r} was added to {config.data_dir} after the import. Import the model again.")
    return replace(images, labels=torch.tensor(labels)[images.labels], classes=config.classes)


def article_split(num_images: int) -> tuple[list[int], list[int]]:
    """Indices of training and test images: 0..n-1, shuffled by Python's `random` with seed 42, split at 80%."""
    indices = list(range(num_images))
    random.Random(42).shuffle(indices)
    num_train = int(0.8 * num_images)
    return indices[:num_train], indices[num_train:]


def list_classes(dataset: Dataset, data_dir: str | Path = "") -> tuple[str, ...]:
    """The classes in data-set order, without reading an image; nothing needs to be downloaded for it."""
    return find_reader(dataset).list_classes(data_dir)


def select_classes(config: TrainConfig) -> TrainConfig:
    """`config` if the data set has all its classes, else with all classes of the data set."""
    known = list_classes(config.dataset, config.data_dir)
    return config if set(config.classes) <= set(known) else config.changed(classes=known)


def check(config: TrainConfig) -> None:
    """DataError if `load_split` would not find the images of `config`; none is read."""
    _check_classes(config.dataset, list_classes(config.dataset, config.data_dir), config.classes)
    find_reader(config.dataset).check(config.data_dir, config.split == "official")


def is_present(dataset: Dataset, data_dir: str | Path = "") -> bool:
    """Whether `load_images` finds the set without a download, judged by file names alone."""
    return find_reader(dataset).is_present(data_dir)


def download(dataset: Dataset, data_dir: str | Path = "", progress: Progress | None = None) -> None:
    """Downloads a set into `data_dir` unless it is complete already; an incomplete download is removed.

    DataError without a network, for a damaged file, and if `data_dir` cannot be written.
    """
    if dataset not in DOWNLOADS:
        raise DataError(f"The data set {dataset!r} needs no download.")
    DOWNLOADS[dataset].download(data_dir, progress)


def _check_classes(dataset: str, known: tuple[str, ...], classes: Sequence[str] | None) -> tuple[str, ...]:
    """`classes`, all if None; DataError if the list is empty, or has an unknown or a repeated class."""
    classes = known if classes is None else tuple(classes)
    if not classes:
        raise DataError("No class is selected. Select at least two classes.")
    for name in classes:
        if name not in known:
            names = ", ".join(known[:10]) + (f" … ({len(known)} in all)" if len(known) > 10 else "")
            raise DataError(f"{dataset} has no class {name!r}. Choose from {names}.")
        if classes.count(name) > 1:
            raise DataError(f"The class {name!r} is selected twice. Select each class once.")
    return classes


def _resized(image_set: ImageSet, img_size: int, in_chans: int) -> ImageSet:
    """The set in this size and with these channels; on disk if it then exceeds `memory_limit()`."""
    if len(image_set) * in_chans * img_size**2 <= memory_limit():
        return replace(image_set, images=resize(image_set.images, img_size, in_chans))
    if image_set.images.shape[1:] == (in_chans, img_size, img_size):
        return image_set
    parts = {}
    for label, name in enumerate(image_set.classes):
        of_class = image_set.select((image_set.labels == label).nonzero().flatten())
        key = digest(of_class.fingerprint(), img_size, in_chans)

        def resize_chunks(images: Images = of_class.images) -> Iterator[ClassImages]:
            for chunk in images.split(max(1, CHUNK_BYTES // (in_chans * img_size**2))):
                yield ClassImages(resize_chunk(chunk, img_size, in_chans))

        parts[name] = cached(f"resized-{key}", key, resize_chunks)
    row = image_set.labels.argsort(stable=True).argsort()  # the row of each image when sorted by class
    return replace(image_set, images=concatenate_classes(parts, image_set.classes).select(row).images)

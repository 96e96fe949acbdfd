"""Any data set by its name: its classes, its images, and the split into train and test part."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from minivit.config import DATASETS, Dataset, TrainConfig
from minivit.data.batches import resize, resize_chunk
from minivit.data.cache import cached, digest
from minivit.data.image_set import ClassImages, ImageRequest, ImageSet, Progress, join
from minivit.data.memmap import CHUNK_BYTES, memory_limit
from minivit.data.registry import DOWNLOADS, find_reader
from minivit.errors import DataError

Part = Literal["train", "test"]


def load_images(
    dataset: Dataset,
    *,
    data_dir: str | Path = "",
    classes: Sequence[str] | None = None,
    part: Part = "train",
    img_size: int | None = None,
    in_chans: int | None = None,
    images_per_class: int = 0,
    progress: Progress | None = None,
) -> ImageSet:
    """The images of one part of a data set; `classes` None: all; `img_size` and `in_chans` None: the set's own.

    `images_per_class` keeps the first n of each class, 0 all. Nothing is downloaded. DataError where the set is
    missing or unreadable, for an unknown class, and for a class without images.
    """
    reader, info = find_reader(dataset), DATASETS[dataset]
    request = ImageRequest(
        part=part,
        classes=_check_classes(dataset, reader.list_classes(data_dir), classes),
        img_size=info.img_size if img_size is None else img_size,
        in_chans=info.in_chans if in_chans is None else in_chans,
        images_per_class=images_per_class,
        data_dir=data_dir,
    )
    _check(request)
    images = reader.read(request, progress)
    for name, count in images.counts.items():
        if not count:
            raise DataError(f"The {part} part of {dataset} has no image of the class {name!r}. Leave the class out.")
    return _resized(images, request.img_size, request.in_chans)


def load_split(config: TrainConfig, progress: Progress | None = None) -> tuple[ImageSet, ImageSet]:
    """The training images and the test images, with the size and channels of `config.model`.

    'official' tests on the set's own test part, 'article' on a fifth of the train part. An imported model has been
    trained elsewhere: all its images are test images. DataError as in `load_images`.
    """
    if config.imported:
        test_set = _load_for_imported(config, progress)
        return test_set.select([]), test_set
    images = _load_part(config, "train", config.classes, progress)
    if config.split == "official":
        return images, _load_part(config, "test", config.classes, progress)
    train, test = article_split(len(images))
    return images.select(train), images.select(test)


def _load_part(config: TrainConfig, part: Part, classes: Sequence[str], progress: Progress | None) -> ImageSet:
    return load_images(
        config.dataset,
        data_dir=config.data_dir,
        classes=classes,
        part=part,
        img_size=config.model.img_size,
        in_chans=config.model.in_chans,
        images_per_class=config.images_per_class,
        progress=progress,
    )


NO_CLASS = " (no class of this model)"


def not_a_class(name: str) -> str:
    """What a folder of images is called whose name is no class of an imported model's."""
    return name + NO_CLASS


def num_without_class(images: ImageSet) -> int:
    """How many images lie in such folders, so that no answer to them can be right."""
    return sum(count for name, count in images.counts.items() if name.endswith(NO_CLASS))


def _load_for_imported(config: TrainConfig, progress: Progress | None) -> ImageSet:
    """All images of the folder that an imported model is shown, labelled where its head has a class of that name."""
    folders = list_classes("folder", config.data_dir)
    found = _load_part(config, "train", folders, progress)
    places = {name: place for place, name in enumerate(config.classes)}
    labels = [places.get(name, places.get(not_a_class(name))) for name in folders]
    if None in labels:
        new = folders[labels.index(None)]
        raise DataError(f"The folder {new!r} came to {config.data_dir} after the import. Import the model again.")
    return replace(found, labels=torch.tensor(labels)[found.labels], classes=config.classes)


def article_split(num_images: int) -> tuple[list[int], list[int]]:
    """Indices of training and test images: 0..n-1, shuffled by Python's `random` seeded with 42, cut at 80%."""
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
    find_reader(config.dataset).check(config)


def is_present(dataset: Dataset, data_dir: str | Path = "") -> bool:
    """Whether `load_images` finds the set without a download, judged by file names alone."""
    return find_reader(dataset).is_present(data_dir)


def download(dataset: Dataset, data_dir: str | Path = "", progress: Progress | None = None) -> None:
    """Downloads a set into `data_dir` unless it is complete already; an incomplete download is removed.

    DataError without a network, for a file that arrives damaged, and where `data_dir` cannot be written.
    """
    if dataset not in DOWNLOADS:
        raise DataError(f"The data set {dataset!r} needs no download.")
    DOWNLOADS[dataset].download(data_dir, progress)


def _check(request: ImageRequest) -> None:
    if request.part not in ("train", "test"):
        raise DataError(f"There is no part {request.part!r}. Choose 'train' or 'test'.")
    if request.img_size < 1:
        raise DataError(f"An image size of {request.img_size} px is invalid. Choose 1 px or more.")
    if request.in_chans not in (1, 3):
        raise DataError(f"Images have 1 channel (grayscale) or 3 (RGB), not {request.in_chans}. Choose 1 or 3.")
    if request.images_per_class < 0:
        raise DataError(f"{request.images_per_class} images per class is invalid. Choose 0 for all, or more.")


def _check_classes(dataset: str, known: tuple[str, ...], classes: Sequence[str] | None) -> tuple[str, ...]:
    """`classes`, all if None; DataError for none, an unknown or a repeated one."""
    classes = known if classes is None else tuple(classes)
    if not classes:
        raise DataError("No class is selected. Select at least two classes.")
    for name in classes:
        if name not in known:
            listed = ", ".join(known[:10]) + (f" … ({len(known)} in all)" if len(known) > 10 else "")
            raise DataError(f"{dataset} has no class {name!r}. Choose from {listed}.")
        if classes.count(name) > 1:
            raise DataError(f"The class {name!r} is selected twice. Name each class once.")
    return classes


def _resized(image_set: ImageSet, img_size: int, in_chans: int) -> ImageSet:
    """The set in this size and with these channels; on disk if it would then be too large for the memory."""
    if len(image_set) * in_chans * img_size**2 <= memory_limit():
        return replace(image_set, images=resize(image_set.images, img_size, in_chans))
    if image_set.images.shape[1:] == (in_chans, img_size, img_size):
        return image_set
    parts = {}
    for label, name in enumerate(image_set.classes):
        of_class = image_set.select((image_set.labels == label).nonzero().flatten())
        key = digest(of_class.fingerprint(), img_size, in_chans)
        parts[name] = cached(f"resized-{key}", key, partial(_resize_chunks, of_class, img_size, in_chans))
    row = image_set.labels.argsort(stable=True).argsort()  # of each image among all, class by class
    return replace(image_set, images=join(parts, image_set.classes).select(row).images)


def _resize_chunks(image_set: ImageSet, img_size: int, in_chans: int) -> Iterator[ClassImages]:
    for chunk in image_set.images.split(max(1, CHUNK_BYTES // (in_chans * img_size**2))):
        yield ClassImages(resize_chunk(chunk, img_size, in_chans))

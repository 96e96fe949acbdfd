"""Any data set by its name, its classes, and its split into train and test part."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from minivit.config import Dataset, TrainConfig, native_settings
from minivit.data import drawing, folder, shapes, torchvision
from minivit.data.batches import fit, fit_chunk
from minivit.data.cache import cached, digest
from minivit.data.image_set import ClassImages, ImageSet, Progress, join
from minivit.data.memmap import CHUNK_BYTES, memory_limit
from minivit.errors import DataError

DOWNLOADABLE = tuple(torchvision.PUBLISHED)


def load_images(
    dataset: Dataset,
    *,
    data_dir: str | Path = "",
    classes: Sequence[str] | None = None,
    part: Literal["train", "test"] = "train",
    img_size: int | None = None,
    in_chans: int | None = None,
    images_per_class: int = 0,
    progress: Progress | None = None,
) -> ImageSet:
    """The images of one part of a data set; `classes` None takes all, size and channels None are the set's own.

    `images_per_class` keeps the first n of each class, 0 all. Nothing is downloaded here. DataError where the set is
    missing or unreadable, for a class that it does not have, and for a class without images.
    """
    native = native_settings(dataset)
    img_size = native["img_size"] if img_size is None else img_size
    in_chans = native["in_chans"] if in_chans is None else in_chans
    _check(part, img_size, in_chans, images_per_class)
    chosen = _choose(dataset, list_classes(dataset, data_dir), classes)
    if dataset == "folder":
        found = folder.read(
            data_dir, part, chosen, img_size=img_size, in_chans=in_chans, images_per_class=images_per_class,
            progress=progress,
        )  # fmt: skip
    elif dataset == "shapes":
        found = shapes.read(part, chosen, img_size=img_size, images_per_class=images_per_class, progress=progress)
    else:
        found = torchvision.read(dataset, data_dir, part, chosen, images_per_class=images_per_class, progress=progress)
    for name, count in found.counts.items():
        if not count:
            raise DataError(f"The {part} part of {dataset} has no image of the class {name!r}. Leave the class out.")
    return _fitted(found, img_size, in_chans)


def load_split(config: TrainConfig, progress: Progress | None = None) -> tuple[ImageSet, ImageSet]:
    """The images to train on and those held out, of the size and channels of `config.model`.

    'official' holds out the set's own test part, 'article' a fifth of the train part. A model that was imported has
    seen none of the images here: all of them are held out. DataError as `load_images`.
    """
    if config.imported:
        shown = _load_shown(config, progress)
        return shown.select([]), shown

    def load(part: Literal["train", "test"]) -> ImageSet:
        return load_images(
            config.dataset, data_dir=config.data_dir, classes=config.classes, part=part,
            img_size=config.model.img_size, in_chans=config.model.in_chans,
            images_per_class=config.images_per_class, progress=progress,
        )  # fmt: skip

    images = load("train")
    if config.split == "official":
        return images, load("test")
    train, test_set = article_split(len(images))
    return images.select(train), images.select(test_set)


NO_CLASS = " (no class of this model)"


def not_a_class(name: str) -> str:
    """What a folder of images is called whose name is no class of an imported model's."""
    return name + NO_CLASS


def num_without_class(images: ImageSet) -> int:
    """How many images lie in such folders, so that no answer to them can be right."""
    return sum(count for name, count in images.counts.items() if name.endswith(NO_CLASS))


def _load_shown(config: TrainConfig, progress: Progress | None) -> ImageSet:
    """All images of the folder that an imported model is shown, labelled where its head has a class of that name."""
    folders = list_classes("folder", config.data_dir)
    found = load_images(
        "folder", data_dir=config.data_dir, classes=folders, img_size=config.model.img_size,
        in_chans=config.model.in_chans, images_per_class=config.images_per_class, progress=progress,
    )  # fmt: skip
    places = {name: place for place, name in enumerate(config.classes)}
    labels = [places.get(name, places.get(not_a_class(name))) for name in folders]
    if None in labels:
        new = folders[labels.index(None)]
        raise DataError(f"The folder {new!r} came to {config.data_dir} after the import. Import the model again.")
    return replace(found, labels=torch.tensor(labels)[found.labels], classes=config.classes)


def article_split(num_images: int) -> tuple[list[int], list[int]]:
    """Indices to train on and to hold out: 0..n-1, shuffled by Python's `random` seeded with 42, cut at 80 %."""
    indices = list(range(num_images))
    random.Random(42).shuffle(indices)
    num_train = int(0.8 * num_images)
    return indices[:num_train], indices[num_train:]


def list_classes(dataset: Dataset, data_dir: str | Path = "") -> tuple[str, ...]:
    """The classes of a data set in its own order, without reading an image; a published set need not be here."""
    if dataset == "folder":
        return tuple(folder.class_folders(data_dir))
    if dataset == "shapes":
        return drawing.CLASSES
    return torchvision.find(dataset).classes


def fit_classes(config: TrainConfig) -> TrainConfig:
    """These settings if the data set has all their classes, else with all classes that it has."""
    known = list_classes(config.dataset, config.data_dir)
    return config if set(config.classes) <= set(known) else config.changed(classes=known)


def check(config: TrainConfig) -> None:
    """DataError where `load_split` would not find the images of these settings, found out without reading one."""
    _choose(config.dataset, list_classes(config.dataset, config.data_dir), config.classes)
    if config.dataset in DOWNLOADABLE:
        torchvision.check(config.dataset, config.data_dir)
    elif config.dataset == "folder":
        for part in ("train", "test") if config.split == "official" else ("train",):
            folders = folder.class_folders(config.data_dir, part)
            for name in config.classes:
                if name in folders:
                    folder.image_files(folders[name])


def is_present(dataset: Dataset, data_dir: str | Path = "") -> bool:
    """Whether `load_images` finds the set without a download, judged by names of files alone."""
    if dataset == "shapes":
        return True
    if dataset != "folder":
        return torchvision.is_present(dataset, data_dir)
    try:
        return bool(list_classes(dataset, data_dir))
    except DataError:
        return False


def download_bytes(dataset: Dataset) -> int:
    """How much `download` fetches."""
    return torchvision.find(dataset).num_bytes


def download(dataset: Dataset, data_dir: str | Path = "", progress: Progress | None = None) -> None:
    """Fetch a published set into `data_dir`, unless it is whole already; half a download is never left there.

    DataError without a network, for a file that arrives damaged, and where nothing can be written.
    """
    if dataset in ("folder", "shapes"):
        raise DataError(f"The data set {dataset!r} needs no download. Load it as it is.")
    torchvision.download(dataset, data_dir, progress)


def _check(part: str, img_size: int, in_chans: int, images_per_class: int) -> None:
    if part not in ("train", "test"):
        raise DataError(f"There is no part {part!r}. Choose 'train' or 'test'.")
    if img_size < 1:
        raise DataError(f"An image size of {img_size} px cannot be. Choose 1 px or more.")
    if in_chans not in (1, 3):
        raise DataError(f"Images have 1 channel (grey) or 3 (colour), not {in_chans}. Choose 1 or 3.")
    if images_per_class < 0:
        raise DataError(f"{images_per_class} images per class cannot be. Choose 0 for all, or more.")


def _fitted(found: ImageSet, img_size: int, in_chans: int) -> ImageSet:
    """The images in this size and with these channels; kept on disk where they are too large for the memory then."""
    if len(found) * in_chans * img_size**2 <= memory_limit():
        return replace(found, images=fit(found.images, img_size, in_chans))
    if found.images.shape[1:] == (in_chans, img_size, img_size):
        return found
    parts = {}
    for label, name in enumerate(found.classes):
        own = found.select((found.labels == label).nonzero().flatten())
        asked = digest(own.fingerprint(), img_size, in_chans)
        parts[name] = cached(f"fitted-{asked}", asked, partial(_fit_pieces, own, img_size, in_chans))
    place = found.labels.argsort(stable=True).argsort()  # of each image among all, class by class
    return replace(found, images=join(parts, found.classes).select(place).images)


def _fit_pieces(found: ImageSet, img_size: int, in_chans: int) -> Iterator[ClassImages]:
    for chunk in found.images.split(max(1, CHUNK_BYTES // (in_chans * img_size**2))):
        yield ClassImages(fit_chunk(chunk, img_size, in_chans))


def _choose(dataset: str, known: tuple[str, ...], classes: Sequence[str] | None) -> tuple[str, ...]:
    chosen = known if classes is None else tuple(classes)
    if not chosen:
        raise DataError("No class is chosen. Choose at least 2.")
    for name in chosen:
        if name not in known:
            listed = ", ".join(known[:10]) + (f" … ({len(known)} in all)" if len(known) > 10 else "")
            raise DataError(f"{dataset} has no class {name!r}. Choose from {listed}.")
        if chosen.count(name) > 1:
            raise DataError(f"The class {name!r} is chosen twice. Name each class once.")
    return chosen

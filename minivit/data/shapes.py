"""The data set 'shapes': drawn by `shapes_drawing` on first use, then read from the cache."""

from collections.abc import Iterator
from pathlib import Path

import torch

from minivit.config import SHAPES_CLASSES
from minivit.data import shapes_drawing
from minivit.data.cache import cached, digest
from minivit.data.image_set import ClassImages, ImageRequest, ImageSet, Progress, concatenate_classes

NUM_PER_CLASS = {"train": 1500, "test": 300}
SEED = {"train": 0, "test": 1}


def list_classes(data_dir: str | Path = "") -> tuple[str, ...]:
    return SHAPES_CLASSES


def is_present(data_dir: str | Path = "") -> bool:
    """Always: the images are drawn when they are needed."""
    return True


def check(data_dir: str | Path, official: bool) -> None:
    """Nothing can be missing."""


def read(request: ImageRequest, progress: Progress | None = None) -> ImageSet:
    """RGB images of these classes with their masks. Data-set order: the classes alternate."""
    names = [name for name in SHAPES_CLASSES if name in request.classes]
    available = NUM_PER_CLASS[request.split]
    num_images = min(request.images_per_class or available, available)
    title = "shapes" if request.drawing == 2 else f"shapes-{request.drawing}"
    key = digest(Path(shapes_drawing.__file__).read_text(encoding="utf-8"))

    def read_class(index: int, name: str) -> ClassImages:
        def report(done: int, total: int) -> None:
            if progress:
                progress(f"Drawing {name}", index * num_images + done, len(names) * num_images)

        def draw() -> Iterator[ClassImages]:
            look = {"seed": SEED[request.split], "img_size": request.img_size, "drawing": request.drawing}
            yield ClassImages(*shapes_drawing.draw(name, num_images, **look, progress=report))

        return cached(f"{title}-{request.split}-{name}-{request.img_size}px-{num_images}", key, draw)

    by_class = concatenate_classes({name: read_class(index, name) for index, name in enumerate(names)}, request.classes)
    return by_class.select(torch.arange(num_images).repeat(len(names)).argsort(stable=True))

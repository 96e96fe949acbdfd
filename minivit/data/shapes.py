"""The set 'shapes': drawn by `minivit.data.drawing` when it is first asked for, then kept."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from minivit.data import drawing
from minivit.data.cache import cached, digest
from minivit.data.image_set import ClassImages, ImageSet, Progress, join

NUM_PER_CLASS = {"train": 1500, "test": 300}
SEED = {"train": 0, "test": 1}


def read(
    part: str, classes: Sequence[str], *, img_size: int, images_per_class: int, progress: Progress | None = None
) -> ImageSet:
    """Colour images of these classes with their masks. Data-set order: classes take turns, as `draw` has it."""
    in_order = [name for name in drawing.CLASSES if name in classes]
    num_images = min(images_per_class or NUM_PER_CLASS[part], NUM_PER_CLASS[part])
    key = digest(Path(drawing.__file__).read_text())

    def drawn(place: int, name: str) -> ClassImages:
        def report(done: int, total: int) -> None:
            if progress:
                progress(f"Drawing {name}", place * num_images + done, len(in_order) * num_images)

        def make() -> Iterator[ClassImages]:
            images, _, masks = drawing.draw(
                num_images, seed=SEED[part], img_size=img_size, classes=[name], progress=report
            )
            yield ClassImages(images, masks)

        return cached(f"shapes-{part}-{name}-{img_size}px-{num_images}", key, make)

    found = join({name: drawn(place, name) for place, name in enumerate(in_order)}, classes)
    return found.select(torch.arange(num_images).repeat(len(in_order)).argsort(stable=True))

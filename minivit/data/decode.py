"""PNG, JPEG and WebP files -> uint8 (n, C, H, W), decoded by several threads."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from minivit.data.image_set import ClassImages

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")  # by content; no other decoder ever runs
CHUNK_PIXELS = 2**16  # decoded by a thread between two reports: 64 images of 32 px


def decode_files(
    paths: Sequence[Path], img_size: int, in_chans: int, report: Callable[[int], None]
) -> Iterator[ClassImages]:
    """The images in these files, in their order, chunk by chunk; only a few chunks are decoded ahead.

    `report` is called with the number of files that are done.
    """
    size = max(1, CHUNK_PIXELS // img_size**2)
    chunks = iter([paths[start : start + size] for start in range(0, len(paths), size)])
    num_threads = os.cpu_count() or 1
    done = 0
    with ThreadPoolExecutor(num_threads) as pool:

        def submit(num_chunks: int) -> list[Future[ClassImages]]:
            return [pool.submit(_decode_chunk, chunk, img_size, in_chans) for chunk in islice(chunks, num_chunks)]

        pending = deque(submit(4 * num_threads))
        while pending:
            decoded = pending.popleft().result()
            pending.extend(submit(1))
            done += len(decoded.images) + len(decoded.skipped)
            report(done)
            yield decoded


def _decode_chunk(paths: Sequence[Path], img_size: int, in_chans: int) -> ClassImages:
    images = np.empty((len(paths), in_chans, img_size, img_size), np.uint8)
    skipped: list[str] = []
    num_images = 0
    for path in paths:
        try:
            images[num_images] = decode_image(path, img_size, in_chans)
            num_images += 1
        except Exception as error:  # PIL's decoders raise anything for a damaged file
            skipped.append(f"{path}: {describe_error(error)}".encode(errors="replace").decode())
    return ClassImages(torch.from_numpy(images[:num_images]), skipped=tuple(skipped))


def decode_image(path: Path, img_size: int, in_chans: int) -> np.ndarray:
    """One file -> uint8 (C, H, W): upright by its EXIF tag, resized, cropped to the central square."""
    with Image.open(path, formats=FORMATS) as file:
        file.draft(None, (2 * img_size, 2 * img_size))  # a large JPEG is decoded at a fraction of its size
        ImageOps.exif_transpose(file, in_place=True)
        file.load()
    image: Image.Image = file
    if image.mode.startswith("I;16"):  # PIL would cut off at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    mode = "RGB" if in_chans == 3 else "L"
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (img_size, img_size):
        image = ImageOps.fit(image, (img_size, img_size))
    return np.asarray(image).reshape(img_size, img_size, in_chans).transpose(2, 0, 1)


def describe_error(error: Exception) -> str:
    """The reason why a file or folder cannot be read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG or WebP image"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason or type(error).__name__

"""Image files -> uint8 (n, C, H, W), decoded by several threads."""

import ctypes
import io
import logging
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

from minivit.config import Preprocessing, TrainConfig
from minivit.data.image_set import ClassImages
from minivit.errors import DataError
from minivit.files import check_regular, explain_os_error

SUFFIXES = tuple(
    [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif"]
)
IMAGE_FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF"]  # by content; no other decoder is run
FORMAT_NAMES = "PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF or HEIC"
BIT_DEPTHS = (8, 10, 12, 14, 16)  # of the values that cameras and scanners store in 16 bits
# PIL's modes for the high bytes of 16-bit colors, the only ones that it reads, and those for the low bytes
LOW_BYTES = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B"}
LOW_BYTES["RGB;16N"] = LOW_BYTES["RGB;16L" if sys.byteorder == "little" else "RGB;16B"]
MAX_PIXELS = 2**26  # that are decoded of an image, 200 MB
CHUNK_PIXELS = 2**16  # decoded by a thread between two reports: 64 images of 32 px

register_heif_opener()
# What decoders print, such as warnings about unusual metadata, does not concern the user; unreadable files are named.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
for library in Path(PIL.__file__).parents[1].glob("[Pp][Ii][Ll]*/**/libtiff*"):  # Pillow's own; it writes to stderr
    ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
Image.MAX_IMAGE_PIXELS = None  # `MAX_PIXELS` is checked before an image is decoded


ImageFormat = tuple[int, int, Preprocessing | None]  # img_size, in_chans, and the resizing if it is not ours


def image_format(config: TrainConfig) -> ImageFormat:
    """The form in which a model reads images."""
    return config.model.img_size, config.model.in_chans, config.preprocessing


def decode_files(paths: Sequence[Path], fmt: ImageFormat, report: Callable[[int], None]) -> Iterator[ClassImages]:
    """The images in these files, in their order, chunk by chunk; only a few chunks are decoded ahead.

    `report` is called with the number of files that are done.
    """
    size = max(1, CHUNK_PIXELS // fmt[0] ** 2)
    chunks = iter([paths[start : start + size] for start in range(0, len(paths), size)])
    num_threads = os.cpu_count() or 1
    done = 0
    with ThreadPoolExecutor(num_threads) as pool:

        def submit(num_chunks: int) -> list[Future[ClassImages]]:
            return [pool.submit(_decode_chunk, chunk, fmt) for chunk in islice(chunks, num_chunks)]

        pending = deque(submit(4 * num_threads))
        while pending:
            decoded = pending.popleft().result()
            pending.extend(submit(1))
            done += len(decoded.images) + len(decoded.skipped)
            report(done)
            yield decoded


def _decode_chunk(paths: Sequence[Path], fmt: ImageFormat) -> ClassImages:
    img_size, in_chans, _ = fmt
    images = np.empty((len(paths), in_chans, img_size, img_size), np.uint8)
    skipped: list[str] = []
    num_images = 0
    for path in paths:
        try:
            images[num_images] = decode_image(path, *fmt)
            num_images += 1
        except Exception as error:  # PIL's decoders raise exceptions of any type for a damaged file
            skipped.append(f"{path}: {describe_error(error)}".encode(errors="replace").decode())
    return ClassImages(torch.from_numpy(images[:num_images]), skipped=tuple(skipped))


def decode_image(
    path: Path | BinaryIO, img_size: int, in_chans: int, preprocessing: Preprocessing | None = None
) -> np.ndarray:
    """One file -> uint8 (C, H, W): upright by its EXIF tag, resized, cropped to the central square."""
    with _open_image(path) as file:
        if preprocessing is None:
            file.draft(None, (2 * img_size, 2 * img_size))  # a large JPEG is decoded at a fraction of its size
        if file.width * file.height > MAX_PIXELS:
            raise ValueError(f"{file.width:,} × {file.height:,} pixels are more than {MAX_PIXELS / 1e6:.0f} million")
        low_bytes = [tile._replace(args=_low_bytes(tile.args)) for tile in file.tile]
        is_16_bit = low_bytes != file.tile
        ImageOps.exif_transpose(file, in_place=True)
        file.load()
    image: Image.Image = file
    if is_16_bit and np.asarray(image).max() < 2**6:  # of 14 bits or fewer
        with _open_image(path) as file:
            file.tile = low_bytes
            ImageOps.exif_transpose(file, in_place=True)
            image = Image.fromarray(_to_8_bits(np.asarray(image).astype(np.uint16) << 8 | np.asarray(file)))
    if image.mode.startswith(("I", "F")):  # PIL would cut off at 255
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    mode = "RGB" if in_chans == 3 else "L"
    if image.mode != mode:
        image = image.convert(mode)
    if preprocessing:
        return _preprocessed(image, img_size, preprocessing)
    if image.size != (img_size, img_size):
        image = ImageOps.fit(image, (img_size, img_size))
    return np.asarray(image).reshape(img_size, img_size, in_chans).transpose(2, 0, 1)


def _open_image(path: Path | BinaryIO) -> ImageFile.ImageFile:
    """An image that is not decoded yet; OSError for pipes and devices, which would block."""
    if isinstance(path, Path):
        check_regular(path.stat().st_mode, path)
    return Image.open(path, formats=IMAGE_FORMATS)


def _low_bytes(args: Any) -> Any:
    """A decoder's arguments, of which the first is PIL's mode, with the mode for the low bytes of 16-bit colors."""
    return (LOW_BYTES.get(args[0], args[0]), *args[1:]) if isinstance(args, tuple) else LOW_BYTES.get(args, args)


def original_size(path: Path | BinaryIO) -> tuple[int, int] | None:
    """Width and height in pixels that a file states, without decoding it; None if it is not a readable image."""
    try:
        with _open_image(path) as file:
            return file.size
    except Exception:  # PIL's decoders raise exceptions of any type for a damaged file
        return None


def _preprocessed(image: Image.Image, img_size: int, preprocessing: Preprocessing) -> np.ndarray:
    """The image (C, H, W) as the library of an imported model resizes and crops it."""
    from torchvision.transforms.v2 import functional as transforms  # slow to import, and rarely needed

    size = [preprocessing.size] if preprocessing.keep_aspect else [preprocessing.size] * 2
    mode = transforms.InterpolationMode(preprocessing.interpolation)
    if not preprocessing.on_tensors:
        resized = transforms.center_crop(transforms.resize(image, size, mode), [img_size, img_size])
        return transforms.pil_to_tensor(resized).numpy()
    pixels = transforms.pil_to_tensor(image)
    if preprocessing.size:
        pixels = transforms.resize(pixels, size, mode)
    top, left = (int((side - img_size) / 2) for side in pixels.shape[1:])  # unlike torchvision's center_crop
    return transforms.crop(pixels, top, left, img_size, img_size).numpy()


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Values of more than 8 bits -> uint8: scaled by the smallest of `BIT_DEPTHS` that holds them.

    Floating-point values up to 1 are shares of white; what is not finite becomes black.
    """
    values = np.where(np.isfinite(values), values, 0)
    highest = float(values.max())
    limit = next((2.0**bits - 1 for bits in BIT_DEPTHS if highest < 2**bits), highest)
    if values.dtype.kind == "f" and highest <= 1:
        limit = 1.0
    return (values.clip(0) * (255 / limit)).astype(np.uint8)


def read_picture(path: Path, fmt: ImageFormat) -> torch.Tensor:
    """The image in one file, uint8 (1, C, H, W); DataError if it is not a regular file or not a readable image."""
    with explain_os_error(DataError, f"{path} cannot be read", "Choose another image."):
        if not path.is_file():
            raise DataError(f"{path} is not a file. Choose an image.")
        return decode_picture(path.read_bytes(), str(path), fmt)


def decode_picture(content: bytes, name: str, fmt: ImageFormat) -> torch.Tensor:
    """The content of an image file, uint8 (1, C, H, W), as `decode_image`; DataError with `name` if it is not one."""
    try:
        return torch.tensor(decode_image(io.BytesIO(content), *fmt))[None]
    except Exception as error:  # PIL's decoders raise exceptions of any type for a damaged file
        raise DataError(f"{name} cannot be read: {describe_error(error)}. Choose another image.") from None


def describe_error(error: Exception) -> str:
    """The reason why a file or folder cannot be read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return f"not a {FORMAT_NAMES} image"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return "damaged" if reason.startswith("decoder error") else reason or type(error).__name__

"""Features of patches: their similarity in one image, across two and over training, and their principal components."""

from contextlib import suppress

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from torch import Tensor

from minivit.attention.maps import num_affordable
from minivit.attention.tokens import cosine_similarity, patch_components, token_statistics
from minivit.config import ViTConfig
from minivit.data.image_set import evenly_spaced
from minivit.errors import RunError
from minivit.runs import Run
from pages.parts.components.tiles import Row, Tile, map_tiles, signed_scale, tiles
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId

FEW_LAYERS = 4  # whose maps are drawn larger
MAX_EPOCHS = 8  # in the row over training
MAX_FIT_IMAGES, MIN_FIT_IMAGES = 32, 4  # test images whose patches the components are computed from
PICTURE_PX = 96  # larger pictures are downsampled


def tile_size(config: ViTConfig) -> int:
    """The width of a map in pixels: a row has one for each layer."""
    return 96 if config.depth <= FEW_LAYERS else 72


def similarity(run: Run, epoch: int, image: ImageId, other: int, layer: int, patch: int) -> None:
    """Cosine similarity of one patch's features with all patches of two images, by layer and over training."""
    query = _patches(run, epoch, image)[:, patch]  # (L + 1, D)
    within, across = (cosine_similarity(query, _patches(run, epoch, each)).numpy() for each in (image, other))
    rest = np.delete(within, patch, axis=1)
    closest = int(np.where(np.arange(within.shape[1]) == patch, -2, within[layer + 1]).argmax())
    best = int(across[layer + 1].argmax())
    title = f"image {other}"
    mean = rest[layer + 1].mean()
    st.markdown(
        f"**After layer {layer + 1}, p{patch} is most similar to p{closest}** "
        f"(cosine {within[layer + 1, closest]:.2f}; mean over the other patches {mean:.2f}), and in {title} to p{best} "
        f"({across[layer + 1, best]:.2f})."
    )
    means = [f"mean {row.mean():.2f}" for row in rest]
    matches = [f"p{row.argmax()}: {row.max():.2f}" for row in across]
    rows = [
        Row("this image", [_picture(run, image, patch), *map_tiles(within, _depths(run), means)]),
        Row(title, [_picture(run, other), *map_tiles(across, _depths(run), matches)]),
    ]
    over_training = _over_training(run, image, layer, patch)
    if len(over_training) > 1:
        names = [f"epoch {saved}" for saved in over_training]
        means = [f"mean {np.delete(row, patch).mean():.2f}" for row in over_training.values()]
        rows.append(
            Row(f"layer {layer + 1} over training", map_tiles(np.stack([*over_training.values()]), names, means))
        )
    text = f"Cosine similarity to p{patch}. Below: the mean over the other patches, or the most similar patch."
    size = tile_size(run.config.model)
    tiles(rows, signed_scale(text, 1), key="tokens_similarity", label="Similarity of features", size=size, choice=True)
    st.caption(
        "Features are the tokens between the layers (the residual stream), before any further LayerNorm. A mean near 1 "
        "means that all patches are similar. Position embeddings are part of the features, so neighbors are similar "
        "even without common content."
    )


def components(run: Run, epoch: int, image: ImageId, other: int, layer: int) -> None:
    """The first three principal components of the patches of two images as colors."""
    indices = cache.some_images(run, MAX_FIT_IMAGES, MIN_FIT_IMAGES)
    common, own = (cache.analyze(patch_components, run, epoch, images) for images in (indices, (image,)))
    explained = common.explained[layer + 1]
    st.markdown(
        f"**After layer {layer + 1}, three components explain {explained.sum():.0%} of the variance between the "
        f"patches of {len(indices)} test images**: red {explained[0]:.0%}, green {explained[1]:.0%}, "
        f"blue {explained[2]:.0%}."
    )
    rows = []
    names = ("this image", f"image {other}", "this image alone")
    for name, each, fit in zip(names, (image, other, image), (common, common, own), strict=True):
        colors = fit.colors(_patches(run, epoch, each)).numpy()
        captions = [f"{row.sum():.0%}" for row in fit.explained]
        rows.append(Row(name, [_picture(run, each), *map_tiles(colors, _depths(run), captions)]))
    tiles(rows, None, key="tokens_components", label="Principal components", size=tile_size(run.config.model))
    st.caption(
        f"Components of the patches of {len(indices)} test images; “alone”: of this image's patches only. Within a "
        "column, equal colors mean equal components; colors of different columns or epochs cannot be compared. Below "
        "each picture: the variance that its three components explain.",
        help="The mean is gray. The three components share a scale, so one that explains little changes the color "
        "little; DINOv2 (arXiv 2304.07193, figure 1) has a scale for each.",
    )


def _over_training(run: Run, image: ImageId, layer: int, patch: int) -> dict[int, NDArray[np.float32]]:
    """The similarity to one patch after a layer, (n,), at evenly spaced saved epochs whose weights can be read."""
    saved = run.epochs()
    result = {}
    for index in evenly_spaced(len(saved), num_affordable(run.config.model, MAX_EPOCHS, 2)):
        with suppress(RunError):
            patches = _patches(run, saved[index], image)[layer + 1]
            result[saved[index]] = cosine_similarity(patches[patch], patches).numpy()
    return result


def _patches(run: Run, epoch: int, image: ImageId) -> Tensor:
    """The features of an image's patches, (L + 1, n, D)."""
    return cache.analyze(token_statistics, run, epoch, (image,)).features[:, run.config.model.num_prefix_tokens :]


def _depths(run: Run) -> list[str]:
    return ["embedding", *(f"layer {layer}" for layer in range(1, run.config.model.depth + 1))]


def _picture(run: Run, image: ImageId, patch: int | None = None) -> Tile:
    """An image; all but one patch is dimmed if there is one to show."""
    pixels = cache.image_pixels(run, image)[0].permute(1, 2, 0).numpy()
    if patch is not None:
        size = run.config.model.patch_size
        row, column = divmod(patch, run.config.model.grid)
        dimmed = (0.35 * pixels + 0.65 * 127.5).astype(np.uint8)
        part = slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)
        dimmed[part] = pixels[part]
        pixels = dimmed
    step = max(1, len(pixels) // PICTURE_PX)
    label = cache.image_label(run, image)
    caption = "" if label is None else cache.test_set(run).classes[label]
    return Tile(pixels[::step, ::step], "image" if patch is None else f"p{patch}", caption)

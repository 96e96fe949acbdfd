"""The numbers of one image: class probabilities, and the values of a method with the limit of their scale."""

from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from minivit.attention.attribution import no_report
from minivit.attention.cascade import num_passes
from minivit.attention.methods import METHODS
from minivit.config import ViTConfig
from minivit.figures import scale_limit
from minivit.inference import multiplications
from minivit.runs import Run
from pages.parts.attention.selection import MethodSelection
from pages.parts.components.inspector import HeadInView, View
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.memoize import memoize
from pages.parts.shell.progress import estimate, progress
from pages.parts.shell.url import set_params

NUM_SCALE_IMAGES = 32
MAX_VALUES = 1_000_000  # of attention sent to the browser in one message, two bytes each


def is_large(config: ViTConfig) -> bool:
    """Whether the attention of all layers is too much to send to a browser."""
    return config.depth * config.num_heads * config.num_tokens**2 > MAX_VALUES


def class_probabilities(run: Run, epoch: int, image: ImageId, masked: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """Probabilities (K,) of an image without its masked patches."""
    if is_large(run.config.model):
        return cache.inputs(run, epoch, image, masked).probs.numpy()
    return cache.attention(run, epoch, image, masked)[0]


def method_values(
    run: Run, epoch: int, image: ImageId, selection: MethodSelection, view: View
) -> NDArray[np.float32] | HeadInView:
    """The values of one image: one map (N-1,), or if the method depends on layer and head, (L, H, N, N).

    For a large model only the rows of the token and the matrix of the head in view. Only attention is computed without
    the masked patches.
    """
    masked = view.masked if selection.method.is_attention else ()
    if selection.method.needs_layer and is_large(run.config.model):
        rows = cache.token_row(run, epoch, image, masked, view.token, selection.name)
        return HeadInView(rows, cache.matrix(run, epoch, image, masked, view.layer, view.head, selection.name))
    if selection.method.is_attention:
        return cache.attention(run, epoch, image, masked)[1]
    return _values(run, epoch, image, selection)


@memoize()
def _values(run: Run, epoch: int, image: ImageId, selection: MethodSelection) -> NDArray[np.float32]:
    method = selection.method
    is_slow = estimate(num_passes(method, run.config.model) * multiplications(run.config.model)) != ""
    bar = progress(method.title, lambda: set_params(method=None)) if is_slow else nullcontext(no_report)
    with bar as report:
        model = cache.model_of(run, epoch)
        return method.values(model, cache.image_pixels(run, image), *selection.tensors(), report)[0].cpu().numpy()


def patch_values(run: Run, epoch: int, image: ImageId, selection: MethodSelection, view: View) -> NDArray[np.float32]:
    """The values (N-1,) of the patches for the token in view, as a copy."""
    values = method_values(run, epoch, image, selection, view)
    if isinstance(values, HeadInView):
        return values.matrix[view.token, 1:].copy()
    if values.ndim == 1:
        return values.copy()
    heads = values[view.layer, :, view.token, 1:]
    return heads[view.head].copy() if isinstance(view.head, int) else getattr(heads, view.head)(axis=0)


def absolute_max(run: Run, selection: MethodSelection) -> float:
    """The limit of a method's absolute scale, the same for all images and epochs of a run: from its newest weights."""
    if selection.method.is_attention:
        return cache.run_scale(run)[1]
    return _absolute_max(run, run.epochs()[-1], selection.name)


@memoize()
def _absolute_max(run: Run, epoch: int, name: str) -> float:
    indices = cache.some_images(run, NUM_SCALE_IMAGES, 1)
    predicted = cache.predicted_classes(run, epoch, indices) if METHODS[name].needs_class else None
    if len(indices) == 1 and predicted is not None:  # a large model: the values that the page most likely shows
        return scale_limit(_values(run, epoch, indices[0], MethodSelection(name, int(predicted[0]))))
    images = cache.test_set(run).images[list(indices)]
    return METHODS[name].scale_max(cache.model_of(run, epoch), images, predicted)

"""The maps of the selected method in the inspector."""

from math import floor, log10

from minivit.attention import write_head
from minivit.runs import Run
from pages.parts.attention.prediction import prediction_summary
from pages.parts.attention.selection import MethodSelection
from pages.parts.attention.values import absolute_max, is_large, method_values
from pages.parts.components.inspector import ValueFormat, View, attention_format, inspector
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.url import set_params, token_name


def show_maps(run: Run, epoch: int, image: ImageId, selection: MethodSelection, view: View) -> None:
    """The image, its maps at this epoch and before training, and its prediction."""
    inspector(
        cache.image_pixels(run, image)[0].numpy(),
        method_values(run, epoch, image, selection, view),
        view,
        patch_size=run.config.model.patch_size,
        key="attention_inspector",
        absolute_max=absolute_max(run, selection),
        value_format=value_format(run, selection, view),
        title=cache.image_title(run, image),
        name=f"epoch {epoch}",
        before=method_values(run, 0, image, selection, view) if shows_before(run) else None,
        before_name=run.config.start_title,
        prediction=prediction_summary(run, epoch, image, view.masked),
        on_pick=lambda picked: set_params(
            layer=picked.layer + 1, head=write_head(picked.head), token=token_name(picked.token)
        ),
        on_mask=lambda tokens: set_params(off=list(map(token_name, tokens))),
    )


def shows_before(run: Run) -> bool:
    """Whether the maps at epoch 0 are drawn too: if it was saved, and not for a large imported model."""
    return 0 in run.epochs() and not (run.config.imported and is_large(run.config.model))


def value_format(run: Run, selection: MethodSelection, view: View) -> ValueFormat:
    """How the inspector labels the values of a method.

    Only attention is computed without the masked patches; other maps are those of the complete image.
    """
    method = selection.method
    num_tokens = run.config.model.num_tokens
    if method.is_attention:
        return attention_format(num_tokens - len(view.masked))
    unit = method.unit if selection.contrast is None else method.unit.replace("the logit", "the logit difference")
    signs = " Red patches increase the logit, blue patches decrease it." if method.signed else ""
    return ValueFormat(
        title=selection.title(cache.test_set(run).classes),
        decimals=max(0, 1 - floor(log10(absolute_max(run, selection) / 4))),
        unit=unit,
        meaning=f"{unit}.{signs}",
        verbs=method.verbs,
        signed=method.signed,
        uniform=method.uniform(run.config.model, num_tokens),
        uniform_name="uniform attention",
    )

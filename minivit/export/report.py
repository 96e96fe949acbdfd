"""A run as one HTML page to send or print: settings, curves, confusion matrix, and attention before and after.

The page loads nothing, follows the reader's light or dark mode, and escapes all untrusted text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from minivit.attention import attend, cls_map
from minivit.config import settings
from minivit.data import ImageSet, evenly_spaced, load_split
from minivit.export.image_export import model_scale
from minivit.export.picture import data_uri, draw_color_bar, map_pixels, png_uri, render, rgb
from minivit.figures import GRAY, SPLIT_COLORS, downsample
from minivit.inference import num_parameters, predict
from minivit.runs import Checkpoint, Run
from minivit.runs.summary import baselines
from minivit.stats import wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_IMAGES = 8
MAX_CLASSES = 30  # of a printed confusion matrix


def report_html(run: Run, epoch: int | None = None) -> str:
    """The report of `run` after `epoch` (the newest by default), compared with the first saved epoch.

    RunError if there are no weights, DataError if the images are missing.
    """
    from jinja2 import Template

    model = run.load_model(epoch)
    epochs = run.epochs()
    checkpoints = [Checkpoint(epochs[0]), Checkpoint(epochs[-1] if epoch is None else epoch)]
    test_set = load_split(run.config)[1]
    predictions = predict(model, test_set)
    num_correct, num_images = int(predictions.correct.sum()), len(predictions.labels)
    examples, color_bar = _examples(run, checkpoints, test_set)
    rows = run.metrics()
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"), autoescape=True)
    return template.render(
        run=run,
        title=run.name or " · ".join(run.config.classes[:6]),
        checkpoints=checkpoints,
        num_parameters=num_parameters(run.config.model),
        num_correct=num_correct,
        num_images=num_images,
        interval=wilson(num_correct, num_images),
        num_classes=len(run.config.classes),
        baselines=baselines(run),
        max_classes=MAX_CLASSES,
        curves=_svg_uri(_curves(rows, baselines(run))) if len(rows) > 1 else None,
        confusion=list(zip(run.config.classes, predictions.confusion.tolist(), strict=True)),
        examples=examples,
        color_bar=color_bar,
        settings=[
            (setting.title, f"{_text(setting.value(run.config))} {setting.unit}".strip()) for setting in settings()
        ],
        environment=[(name, _text(value)) for name, value in run.environment.items()],
    )


def _curves(rows: Sequence[Mapping[str, Any]], baselines: Mapping[str, float]) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3), layout="constrained")
    epochs = np.array([row["epoch"] for row in rows], float)
    for axes, title, column in zip(figure.subplots(1, 2), ("loss (nats)", "accuracy"), ("loss", "acc"), strict=True):
        for split, color in SPLIT_COLORS.items():
            values = np.array([row.get(f"{split}_{column}") for row in rows], float)  # None becomes NaN
            axes.plot(*downsample(epochs, values, 400), color=color, label=split)
        axes.set(xlabel="epoch", ylabel=title, xlim=(0, None), ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    for (name, share), style in zip(baselines.items(), (":", "--"), strict=False):
        axes.axhline(share, color=GRAY, linestyle=style, label=name)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False)
    return figure


def _examples(run: Run, checkpoints: Sequence[Checkpoint], test_set: ImageSet) -> tuple[list[dict[str, Any]], str]:
    """Test images with the last layer's CLS map before and after, mean over heads, and the color bar of all maps.

    Pictures are `data:` URIs; captions have the predictions of both checkpoints.
    """
    from matplotlib.figure import Figure

    indices = evenly_spaced(len(test_set), NUM_IMAGES)
    images, labels = test_set.images[torch.tensor(indices)], test_set.labels[torch.tensor(indices)]
    models = [run.load_model(checkpoint) for checkpoint in checkpoints]
    probs, attn = zip(*(attend(model, images) for model in models), strict=True)
    P = run.config.model.num_prefix_tokens
    maps = np.stack([cls_map(layers[:, -1], num_prefix_tokens=P).numpy() for layers in attn])
    scale = model_scale(models[-1], test_set)
    examples = []
    for row, (index, image, label) in enumerate(zip(indices, images.numpy(), labels.tolist(), strict=True)):
        predictions = [(float(p[row].max()), int(p[row].argmax())) for p in probs]
        captions = [
            {
                "checkpoint": run.checkpoint_title(checkpoint),
                "predicted": test_set.classes[predicted],
                "confidence": confidence,
                "correct": predicted == label,
            }
            for checkpoint, (confidence, predicted) in zip(checkpoints, predictions, strict=True)
        ]
        pixels = [rgb(image), *(map_pixels(values, scale, image.shape[-1]) for values in maps[:, row])]
        pictures = [png_uri(picture) for picture in pixels]
        true_class = test_set.classes[label]
        examples.append({"index": index, "true_class": true_class, "pictures": pictures, "captions": captions})
    figure = Figure(figsize=(4.4, 0.9), layout="constrained")
    draw_color_bar(figure.subplots(), scale, 1 / attn[0].shape[-1], maps)
    return examples, _svg_uri(figure)


def _svg_uri(figure: "Figure") -> str:
    return data_uri(render(figure, "svg"), "image/svg+xml")


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "–"
    return str(value)

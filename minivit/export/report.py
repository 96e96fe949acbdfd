"""A run as one HTML page to send or print: settings, curves, confusion, and what it looks at before and after.

The page loads nothing, follows the reader's light or dark, and shows every text that came from outside as text.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minivit.attention import attend, cls_map
from minivit.config import settings
from minivit.data import ImageSet, load_split
from minivit.export.image_export import model_scale
from minivit.export.picture import Raster, colour_bar, map_tile, rgb, to_svg
from minivit.figures import SPLIT_COLORS, evenly_spaced, thin
from minivit.inference import Predictions, predict
from minivit.model import num_parameters
from minivit.runs import Checkpoint, Run
from minivit.stats import wilson

NUM_IMAGES = 8
SIDE = 128  # px of one picture
MAX_CLASSES = 30  # of a confusion matrix on paper
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 240, 52, 34  # of a chart and its margins, px

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1d1e26; --faint: #5a5b66; --line: #d9d9e0;
  --cell: 85, 70, 214; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #111318; --text: #e8e8ee; --faint: #a6a7b3; --line: #3a3d48; --cell: 167, 157, 255; }
}
body { background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p, figcaption { color: var(--faint); } strong { color: var(--text); }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: 0.25rem 0.5rem; text-align: left; font-weight: normal; }
th { overflow-wrap: normal; }
.confusion td { text-align: right; }
.charts, .images { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; } svg { max-width: 100%; height: auto; } .legend svg { background: #fff; }
.triple { display: flex; gap: 4px; }
.right { color: light-dark(#187a3c, #5fd38a); } .wrong { color: light-dark(#b3261e, #ff8a80); }
"""


def report_html(run: Run, epoch: int | None = None) -> str:
    """The report of `run` after `epoch`, or the newest kept, as a whole page; before is the first epoch that is kept.

    Raises RunError without weights, DataError without the images.
    """
    kept = run.epochs()
    last = run.load_model(epoch)
    epoch = kept[-1] if epoch is None else epoch
    test_set = load_split(run.config)[1]
    said = predict(last, test_set.images, test_set.labels)
    title = escape(run.name or " · ".join(run.config.classes[:6]))
    parts = [
        f"<h1>{title}</h1><p>Run {escape(run.id)}, after epoch {epoch} of {run.config.epochs}; "
        f"{num_parameters(run.config.model):,} parameters.</p>",
        _accuracy(said),
        _curves(run.metrics(), len(run.config.classes)),
        _confusion(said, run.config.classes),
        _maps(run, (kept[0], epoch), test_set),
        "<h2>Settings</h2>" + _table((one.title, f"{_words(one.value(run.config))} {one.unit}") for one in settings()),
        "<h2>Environment</h2>" + _table(run.environment.items()),
    ]
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>{"".join(parts)}'
        "</body></html>"
    )


def _accuracy(said: Predictions) -> str:
    num_right, num_images = int(said.correct.sum()), len(said.labels)
    low, high = wilson(num_right, num_images)
    return (
        f"<p><strong>Test accuracy {said.accuracy:.1%}</strong> ({num_right:,} of {num_images:,} right; 95 % "
        f"interval {low:.1%} to {high:.1%}, Wilson). Chance is {1 / said.probs.shape[1]:.1%}.</p>"
    )


def _curves(rows: Sequence[Mapping[str, Any]], num_classes: int) -> str:
    if len(rows) < 2:
        return ""
    charts = [
        _chart("loss (nats)", rows, {"train": "train_loss", "held-out": "test_loss"}),
        _chart("accuracy", rows, {"train": "train_acc", "held-out": "test_acc"}, mark=1 / num_classes),
    ]
    keys = ", ".join(f'<span style="color: {colour}">{name}</span>' for name, colour in SPLIT_COLORS.items())
    return f'<h2>Curves</h2><p>{keys}; the dotted line is chance.</p><div class="charts">{"".join(charts)}</div>'


def _chart(title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], mark: float | None = None) -> str:
    """Curves by epoch as SVG, from 0 to the largest value."""
    epochs = np.array([row["epoch"] for row in rows], float)
    curves = {
        name: np.array([np.nan if row.get(column) is None else row[column] for row in rows], float)
        for name, column in columns.items()
    }
    top = float(np.nanmax([*(np.nanmax(values, initial=0) for values in curves.values()), mark or 0, 1e-9])) * 1.05

    def x(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - 10) * epoch / max(epochs[-1], 1)

    def y(value: float) -> float:
        return (HEIGHT - BOTTOM) * (1 - value / top) + 5

    lines = [
        f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="var(--line)"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.2f}</text>'
        for tick in np.linspace(0, top / 1.05, 5)
    ]
    if mark:
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(mark):.1f}" y2="{y(mark):.1f}" stroke="var(--faint)" '
            'stroke-dasharray="2 4"/>'
        )
    for name, values in curves.items():
        there = ~np.isnan(values)
        points = " ".join(
            f"{x(a):.1f},{y(b):.1f}" for a, b in zip(*thin(epochs[there], values[there], 400), strict=True)
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{SPLIT_COLORS[name]}" stroke-width="2"/>')
    ends = "".join(
        f'<text x="{x(epoch):.1f}" y="{HEIGHT - 12}" text-anchor="{anchor}">{epoch:.0f}</text>'
        for epoch, anchor in ((0, "start"), (epochs[-1], "end"))
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-size="12" '
        f'fill="var(--text)" role="img" aria-label="{title} by epoch">{"".join(lines)}{ends}'
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 12}" text-anchor="middle">epoch</text></svg>'
        f"<figcaption>{title}</figcaption></figure>"
    )


def _confusion(said: Predictions, classes: Sequence[str]) -> str:
    if len(classes) > MAX_CLASSES:
        return f"<h2>Confusion matrix</h2><p>Left out: it would have {len(classes):,} rows.</p>"
    counts = said.confusion
    rows = []
    for name, row in zip(classes, counts, strict=True):
        cells = (
            f'<td style="background: rgba(var(--cell), {count / max(row.sum(), 1) * 0.6:.2f})">{count:,}</td>'
            for count in row
        )
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    return (
        "<h2>Confusion matrix</h2><p>Rows are true classes, columns predicted ones; shaded by share of the row.</p>"
        f'<table class="confusion"><tr><th></th>{head}</tr>{"".join(rows)}</table>'
    )


def _maps(run: Run, epochs: tuple[int, int], test_set: ImageSet) -> str:
    """Images with the last layer's CLS map before and after, mean over heads, on one scale."""
    chosen = evenly_spaced(len(test_set), NUM_IMAGES)
    images = test_set.images[torch.tensor(chosen)]
    models = [run.load_model(epoch) for epoch in epochs]
    shown = [attend(model, images) for model in models]
    maps = [cls_map(attn[:, -1], "mean").numpy() for _, attn in shown]
    answers = [(probs.argmax(1), probs.amax(1)) for probs, _ in shown]
    scale, uniform = model_scale(models[-1], test_set), 1 / shown[0][1].shape[-1]
    classes, labels = test_set.classes, test_set.labels[torch.tensor(chosen)]
    names = [Checkpoint(epoch).title for epoch in epochs]
    figures = []
    for n, number in enumerate(chosen):
        captions = [
            _answer(name, classes[int(says[n])], float(sure[n]), bool(says[n] == labels[n]))
            for name, (says, sure) in zip(names, answers, strict=True)
        ]
        pictures = [_picture(images[n].numpy()), *(_picture(images[n].numpy(), one[n], scale) for one in maps)]
        figures.append(
            f'<figure><div class="triple">{"".join(pictures)}</div><figcaption>image {number}: '
            f"{escape(classes[int(labels[n])])}<br>{'<br>'.join(captions)}</figcaption></figure>"
        )
    bar = to_svg(colour_bar(12, 0, 400, scale, uniform, np.stack(maps)), (424, 96), "attention weight")
    return (
        f"<h2>What it looks at</h2><p>The image; where CLS looks in the last layer, mean over heads, {names[0]}; "
        f'and {names[1]}. One scale for all maps.</p><div class="legend">{bar}</div>'
        f'<div class="images">{"".join(figures)}</div>'
    )


def _answer(name: str, says: str, sure: float, right: bool) -> str:
    sign = '<span class="right">✓' if right else '<span class="wrong">✗'
    return f"{name}: {sign} {escape(says)} {sure:.0%}</span>"


def _picture(
    image: NDArray[np.uint8], values: NDArray[np.float32] | None = None, scale: tuple[float, float] = (0, 1)
) -> str:
    zoom = max(1, SIDE // image.shape[-1])
    side = zoom * image.shape[-1]
    shapes = [Raster(0, 0, rgb(image), zoom)] if values is None else map_tile(image, values, scale, 0, 0, zoom)
    return to_svg(shapes, (side, side), "image" if values is None else "attention over the image")


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(_words(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _words(value: Any) -> str:
    """A value of the settings or the environment as people write it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "–"
    return str(value)

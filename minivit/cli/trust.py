"""The report of `trust`: localization and faithfulness of every method on a run's test images, as Markdown."""

import torch
from torch import Tensor

from minivit.attention.faithfulness import REFERENCE, Faithfulness, Verdict, faithfulness, random_baseline
from minivit.attention.localization import (
    BRIGHTNESS,
    Localization,
    brightness,
    localize_methods,
    uniform_energy,
    uniform_pointing,
)
from minivit.attention.methods import METHODS, available_methods
from minivit.data import load_split
from minivit.errors import ConfigError
from minivit.inference import logits
from minivit.model import MiniViT
from minivit.runs import Run

NUM_IMAGES, NUM_RANKINGS = 200, 10


def trust_report(run: Run, epoch: int | None = None, num_images: int = NUM_IMAGES) -> str:
    """Both tables for a run's model after `epoch` (default: the newest), on the first test images.

    Localization only if the data set has masks, next to the untrained model's. ConfigError for fewer than 2 images.
    """
    if num_images < 2:
        raise ConfigError(f"{num_images} images are too few to compare methods. Use at least 2.")
    model, untrained = run.load_model(epoch), run.load_model(0)
    test_set = load_split(run.config)[1]
    test_set = test_set.select(range(min(num_images, len(test_set))))
    images, labels = test_set.images[:], test_set.labels
    masks = None if test_set.masks is None else test_set.masks[:]
    accuracy = (logits(model, images).argmax(1).cpu() == labels).float().mean().item()
    epoch = run.epochs()[-1] if epoch is None else epoch
    lines = [f"{len(test_set)} test images, accuracy {accuracy:.1%}, epoch {epoch}", ""]
    if masks is None:
        lines += [f"Localization needs masks of the objects; the data set {run.config.dataset!r} has none."]
    else:
        trained_maps, untrained_maps = (localize_methods(each, images, masks, labels) for each in (model, untrained))
        energy = uniform_energy(masks).mean().item()
        touching = uniform_pointing(masks, model.config.patch_size).mean().item()
        lines += _localization_table(trained_maps, untrained_maps, energy, touching)
    return "\n".join([*lines, "", *_faithfulness_table(faithfulness_of_methods(model, images))])


def faithfulness_of_methods(
    model: MiniViT, images: Tensor, num_rankings: int = NUM_RANKINGS, seed: int = 0
) -> dict[str, Faithfulness]:
    """Faithfulness of every method by its title, for the predicted class; last layer, mean over heads."""
    classes = logits(model, images).argmax(1)
    generator = torch.Generator().manual_seed(seed)
    # The sign keeps the rankings, and so the numbers, of reports written before.
    rankings = -torch.rand(len(images), num_rankings, model.config.num_patches, generator=generator)
    random = random_baseline(model, images, classes, rankings)
    maps = {
        method.title: method.attribute(model, images, classes) for method in available_methods(model.config).values()
    }
    maps[BRIGHTNESS] = brightness(images, model.config.patch_size).to(classes.device)
    reference = maps[METHODS[REFERENCE].title]
    return {
        title: faithfulness(model, images, classes, values, random, reference=reference)
        for title, values in maps.items()
    }


def _localization_table(
    trained: list[Localization], untrained: list[Localization], energy: float, touching: float
) -> list[str]:
    header = ["Map", "Energy inside the object", "Untrained", "Pointing game", "Untrained", "Verdict"]
    rows = [
        [after.name, str(after.energy), str(before.energy), str(after.pointing), str(before.pointing), after.words]
        for after, before in zip(trained, untrained, strict=True)
    ]
    return [
        "Localization for the true class, with 95% intervals. A uniform map has "
        f"{energy:.3f} of its energy inside the object, and {touching:.3f} of all patches touch it.",
        "",
        *_markdown(header, rows),
    ]


def _faithfulness_table(results: dict[str, Faithfulness]) -> list[str]:
    header = [
        "Map",
        "Deletion area (lower is better)",
        "Verdict",
        "Insertion area (higher is better)",
        "Verdict",
        "Rank correlation with leave-one-out",
    ]
    rows, baseline = [], ""
    for title, result in results.items():
        deletion, insertion = result.verdicts
        baseline = f"{deletion.random_mean:.3f} ± {deletion.random_sd:.3f}"
        rows.append([title, *_cells(deletion), *_cells(insertion), f"{result.mean_correlation:.2f}"])
    return [
        f"Deletion and insertion for the predicted class, last layer, mean over heads. Random rankings: {baseline}.",
        "",
        *_markdown(header, rows),
    ]


def _cells(verdict: Verdict) -> tuple[str, str]:
    return f"{verdict.area:.3f}", f"{verdict.words} (p = {verdict.p:.1g})"


def _markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]

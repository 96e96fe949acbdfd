"""The report of `trust`: localization, faithfulness and cascade of every method on a run's test images."""

import json
import time
from dataclasses import asdict
from math import isnan
from typing import Any

import torch
from torch import Tensor

from minivit.attention.cascade import CONTROLS, KEPT_CORRELATION, METHODS_AND_CONTROLS, SEED, Cascade, cascade, summary
from minivit.attention.faithfulness import (
    NUM_OTHERS,
    REFERENCE,
    Faithfulness,
    faithfulness,
    maps_of_others,
    random_baseline,
)
from minivit.attention.localization import (
    CONTROL,
    MIN_GAIN,
    Localization,
    control_maps,
    localize_methods,
    revealing_controls,
    uniform_energy,
    uniform_pointing,
)
from minivit.attention.methods import METHODS, Method, available_methods, stem_note
from minivit.attention.verdicts import ALPHA, MIN_EFFECT, Verdict, corrected
from minivit.data import load_split
from minivit.data.image_set import evenly_by_class
from minivit.errors import ConfigError
from minivit.inference import logits
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.stats import bootstrap

NUM_IMAGES = 200
NUM_RANKINGS = 10
NUM_TIMED = 16  # images whose maps are timed


def faithfulness_report(
    run: Run,
    epoch: int | None = None,
    num_images: int = NUM_IMAGES,
    as_json: bool = False,
    with_cascade: bool = False,
) -> str:
    """The tables for a run's model after `epoch` (default: the newest), on as many test images of each class.

    Localization only if the data set has masks, with that at epoch 0; the cascade of re-initialized layers
    and the time per map only if it is requested. ConfigError for fewer than 2 images.
    """
    if num_images < 2:
        raise ConfigError(f"{num_images} images are too few to compare methods. Use at least 2.")
    model = run.load_model(epoch)
    test_set = load_split(run.config)[1]
    test_set = test_set.select(evenly_by_class(test_set.labels, num_images))
    images, labels = test_set.images[:], test_set.labels
    masks = None if test_set.masks is None else test_set.masks[:]
    accuracy = (logits(model, images).argmax(1).cpu() == labels).float().mean().item()
    epoch = run.epochs()[-1] if epoch is None else epoch
    results = faithfulness_of_methods(model, images)
    classes = logits(model, images).argmax(1)
    methods = available_methods(model.config)
    changes = None
    if with_cascade:
        changes = cascade(model, images, classes, methods | CONTROLS, seed=SEED + run.config.seed)
    seconds = {name: _seconds_per_map(method, model, images, classes) for name, method in methods.items()}
    models = {"trained": model, run.config.start_title: run.load_model(0)} if masks is not None else {}
    located = {name: localize_methods(each, images, masks, labels) for name, each in models.items()}
    if as_json:
        report = {"run": run.id, "epoch": epoch, "num_images": len(test_set), "accuracy": accuracy}
        report["methods"] = _report(results, changes, seconds)
        report["localization"] = {
            name: {each.name: asdict(each) | {"verdict": each.verdict} for each in maps}
            for name, maps in located.items()
        }
        return json.dumps(report, indent=2, allow_nan=False)
    lines = [f"{len(test_set)} test images, accuracy {accuracy:.1%}, epoch {epoch}", ""]
    if masks is None:
        lines += [f"Localization needs masks of the objects; the data set {run.config.dataset!r} has none."]
    else:
        energy = uniform_energy(masks).mean().item()
        touching = uniform_pointing(masks, model.config.patch_size).mean().item()
        lines += _localization_table(located, energy, touching)
    lines += ["", *_faithfulness_table(results)]
    if note := stem_note(model.config):
        lines += ["", note]
    if changes:
        lines += ["", *_cascade_table(changes, seconds)]
    return "\n".join(lines)


def _seconds_per_map(method: Method, model: MiniViT, images: Tensor, classes: Tensor) -> float:
    timed = images[:NUM_TIMED], classes[:NUM_TIMED]
    method.attribute(model, *timed)  # the first call allocates
    start = time.perf_counter()
    method.attribute(model, *timed).sum().item()  # waits for the device
    return (time.perf_counter() - start) / len(timed[0])


def faithfulness_of_methods(model: MiniViT, images: Tensor) -> dict[str, Faithfulness]:
    """Faithfulness of every method by its name, for the predicted class; last layer, mean over heads.

    The controls "constant", "brightness" and "center" are entries too.
    """
    classes = logits(model, images).argmax(1)
    generator = torch.Generator().manual_seed(0)
    # The minus sign keeps the rankings, and so the results, of earlier reports.
    rankings = -torch.rand(len(images), NUM_RANKINGS, model.config.num_patches, generator=generator)
    random = random_baseline(model, images, classes, rankings)
    maps = {
        name: method.attribute(model, images, classes) for name, method in available_methods(model.config).items()
    } | control_maps(images.to(classes.device), model.config.patch_size)
    return {
        name: faithfulness(model, images, classes, values, random, maps_of_others(values), reference=maps[REFERENCE])
        for name, values in maps.items()
    }


def corrected_verdicts(results: dict[str, Faithfulness]) -> dict[str, tuple[Verdict, Verdict]]:
    """Deletion and insertion verdicts of every map, with p corrected for their number."""
    pairs = [verdict for result in results.values() for verdict in result.verdicts]
    adjusted = iter(corrected(pairs))
    return {name: (next(adjusted), next(adjusted)) for name in results}


def _report(results: dict[str, Faithfulness], changes: Cascade | None, seconds: dict[str, float]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for name, verdicts in corrected_verdicts(results).items():
        key = "centre" if name == "center" else name  # the key that scripts know
        saco = results[name].saco
        report[key] = {verdict.curve: _verdict_values(verdict) for verdict in verdicts}
        report[key]["saco"] = {"mean": saco.mean().item(), "interval": list(bootstrap(saco))}
        correlation = results[name].mean_correlation
        report[key]["rank_correlation_with_leave_one_out"] = None if isnan(correlation) else correlation  # as in JSON
        if name in seconds:  # not a control, which needs no model
            report[key]["seconds_per_map"] = seconds[name]
        if changes and name in changes.correlations:
            at_steps = [step and {"mean": step.mean, "interval": step[1:]} for step in changes.at_steps(name)]
            steps = dict(zip(changes.steps, at_steps, strict=True))
            report[key]["cascade"] = {"steps": steps, "changed_at": changes.changed_at(name)}
    return report


def _verdict_values(verdict: Verdict) -> dict[str, Any]:
    comparisons = {"random": verdict.random, "other_images": verdict.others}
    by_control = {
        control: {
            "mean": comparison.control,
            "difference": comparison.difference,
            "interval": [comparison.low, comparison.high],
            "p": comparison.p,
        }
        for control, comparison in comparisons.items()
        if comparison
    }
    return {
        "mean": verdict.area,
        "controls": {control: values["mean"] for control, values in by_control.items()},
        "difference": verdict.random.difference,
        "interval": [verdict.random.low, verdict.random.high],
        "against": by_control,
        "p": verdict.p,
        "verdict": verdict.outcome,
    }


def _localization_table(located: dict[str, list[Localization]], energy: float, touching: float) -> list[str]:
    (_, trained), (start_title, start) = located.items()
    title = start_title.capitalize()
    header = ["Map", "Energy inside the object", title, "Pointing game", title, "Verdict"]
    rows = [
        [after.name, str(after.energy), str(before.energy), str(after.pointing), str(before.pointing), after.verdict]
        for after, before in zip(trained, start, strict=True)
    ]
    return [
        "Localization for the true class, with 95% intervals. A uniform map has "
        f"{energy:.3f} of its energy inside the object, and {touching:.3f} of all patches touch it. A map is on the "
        f"object if it has at least {MIN_GAIN} more with p < {ALPHA} (paired t, corrected by Holm).",
        *([f"\n{line}"] if (line := revealing_controls(trained)) else []),
        "",
        *_markdown(header, rows),
    ]


def _faithfulness_table(results: dict[str, Faithfulness]) -> list[str]:
    header = ["Map", "Deletion area ↓", "− random (95%)", "− other images (95%)", "Verdict"]
    header += ["Insertion area ↑", "− random (95%)", "− other images (95%)", "Verdict"]
    header += ["SaCo", "Rank correlation with leave-one-out"]
    rows = []
    baseline = 0.0
    for name, (deletion, insertion) in corrected_verdicts(results).items():
        baseline = deletion.random.control
        result = results[name]
        title = METHODS[name].title if name in METHODS else CONTROL.format(name)
        correlation = "–" if isnan(result.mean_correlation) else f"{result.mean_correlation:.2f}"
        rows.append([title, *_cells(deletion), *_cells(insertion), f"{result.saco.mean():.2f}", correlation])
    return [
        "Deletion and insertion for the predicted class, last layer, mean over heads. Random rankings have an area of "
        f"{baseline:.3f}. A map is better than its controls if it differs from random rankings and from the same "
        f"method's maps of {NUM_OTHERS} other images by at least {MIN_EFFECT} and p < {ALPHA} (paired t, corrected by "
        "Holm). Then it is faithful to this model. This does not mean that the model itself is right.",
        "",
        *_markdown(header, rows),
    ]


def _cascade_table(changes: Cascade, seconds: dict[str, float]) -> list[str]:
    header = ["Map", *changes.steps, f"Within ±{KEPT_CORRELATION} from", "Time per map"]
    rows = [
        [
            METHODS_AND_CONTROLS[name].title,
            *(
                f"{step.mean:.2f} ({step.low:.2f} to {step.high:.2f})" if step else "–"
                for step in changes.at_steps(name)
            ),
            changes.changed_at(name) or "never",
            f"{1000 * seconds[name]:.2g} ms" if name in seconds else "–",
        ]
        for name in changes.correlations
    ]
    return [
        f"{summary(changes)} Layers are re-initialized from the top, cumulatively; mean rank correlation of the maps "
        "with those of the intact model, with 95% intervals. The map of a layer cannot change before that layer or one "
        "below it is re-initialized.",
        "",
        *_markdown(header, rows),
    ]


def _cells(verdict: Verdict) -> list[str]:
    differences = [
        f"{comparison.difference:+.3f} ({comparison.low:+.3f} to {comparison.high:+.3f})" if comparison else "–"
        for comparison in (verdict.random, verdict.others)
    ]
    return [f"{verdict.area:.3f}", *differences, f"{verdict.outcome} (p = {verdict.p:.1g})"]


def _markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]

"""Adebayo's cascade (1810.03292): does a map change when the model loses what it learned?

Layers are re-initialized from the top, cumulatively: the head, the last block, and so on down to the embedding. At each
step every method explains the same class of the same images again. Maps that stay the same do not show what the model
learned, but the image or the architecture. B images, P patches, S steps.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from minivit.attention.localization import CONTROL, control_maps
from minivit.attention.maps import Head
from minivit.attention.methods import METHODS, Method, available_methods
from minivit.config import ViTConfig
from minivit.data import Images
from minivit.inference import multiplications
from minivit.model import MiniViT
from minivit.stats import bootstrap, rank_correlation

SEED = 181003292  # added to a run's seed for the new weights: with that seed alone, they would be its initial weights
KEPT_CORRELATION = 0.5  # beyond ±this a map still is mostly the same ranking, or the same inverted
MAX_MULTIPLICATIONS = 1e13  # of a cascade that includes the methods with a forward pass per patch
CHUNK = 8  # images of one method between two reports of progress

CONTROLS = {
    "brightness": Method(
        title=CONTROL.format("brightness"),
        formula="mean over the pixels",
        source="",
        limitations="Shows the image alone.",
        unit="brightness",
        maps=lambda model, images, *_: control_maps(images, model.config.patch_size)["brightness"],
    )
}
METHODS_AND_CONTROLS = METHODS | CONTROLS

HEAD_PREFIXES = ("norm.", "fc_norm.", "head.", "head_dist.")


class Correlation(NamedTuple):
    """Mean rank correlation over the images, with a 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Cascade:
    """Spearman's correlation of each method's maps with those of the intact model."""

    steps: list[str]  # what was re-initialized last: "head", "block 2", "block 1", "embedding"
    correlations: dict[str, Tensor]  # (S, B) by name; NaN where a map is constant

    def at_steps(self, name: str) -> list[Correlation | None]:
        """The mean at each step over the images whose map is not constant; None if there are none."""
        known = [values[~values.isnan()] for values in self.correlations[name]]
        return [Correlation(values.mean().item(), *bootstrap(values)) if len(values) else None for values in known]

    def changed_at(self, name: str) -> str | None:
        """The first step from which on the mean is within ±`KEPT_CORRELATION`; None if the map is kept to the end."""
        step = None
        for title, correlation in zip(self.steps, self.at_steps(name), strict=True):
            step = None if correlation and abs(correlation.mean) > KEPT_CORRELATION else step or title
        return step


def summary(result: Cascade) -> str:
    """Which methods' maps do not change, as a sentence."""
    titles = [METHODS[name].title for name in result.correlations if name in METHODS and not result.changed_at(name)]
    limit = f"beyond ±{KEPT_CORRELATION}"
    everything = "when all layers are re-initialized"
    if not titles:
        return f"All maps change: none keeps a rank correlation {limit} with the intact model's {everything}."
    if len(titles) == 1:
        return f"{titles[0]} does not show what the model learned: its rank correlation stays {limit} {everything}."
    return f"{', '.join(titles)} do not show what the model learned: rank correlations stay {limit} {everything}."


def cascade(
    model: MiniViT,
    images: Images,
    classes: Tensor,
    methods: Mapping[str, Method],
    *,
    layer: int = -1,
    head: Head = "mean",
    seed: int,
    report: Callable[[float], None] = lambda share: None,
) -> Cascade:
    """The cascade of methods for images (B, …) and one class for each, (B,), with one draw of new weights by `seed`.

    `layer` and `head` are as in `Method.attribute`; `report` is called with the fraction done, 0..1. The model is not
    changed. Methods must be available for its config.
    """
    total = (1 + len(layer_groups(model))) * sum(num_passes(method, model.config) for method in methods.values())
    done = 0.0

    def maps(current: MiniViT, method: Method) -> Tensor:
        nonlocal done
        parts = []
        for rows in torch.arange(len(images)).split(CHUNK):
            report(done / total)
            parts.append(method.attribute(current, images[rows], classes[rows], layer=layer, head=head).cpu())
            done += num_passes(method, model.config) * len(rows) / len(images)
        return torch.cat(parts)

    intact = {name: maps(model, method) for name, method in methods.items()}
    steps: list[str] = []
    correlations: dict[str, list[Tensor]] = {name: [] for name in methods}
    for step, randomized in reinitialized(model, seed):
        steps.append(step)
        for name, method in methods.items():
            correlations[name].append(rank_correlation(intact[name], maps(randomized, method)))
    return Cascade(steps, {name: torch.stack(values) for name, values in correlations.items()})


def reinitialized(model: MiniViT, seed: int) -> Iterator[tuple[str, MiniViT]]:
    """Each step and a copy of the model whose layers down to it are as initialized by `seed`.

    The copy is the same object in all steps. Normalization and fixed positions, which are not learned, stay.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not those of other devices, which are not restored
        initial = MiniViT(model.config).state_dict()
    current = copy.deepcopy(model)
    for step, names in layer_groups(model):
        with torch.no_grad():
            for name in names:
                current.get_parameter(name).copy_(initial[name])
        yield step, current


def layer_groups(model: MiniViT) -> list[tuple[str, list[str]]]:
    """The names of all parameters by step, from the top: head, blocks, embedding."""
    steps = ["head", *(f"block {index}" for index in range(model.config.depth, 0, -1)), "embedding"]
    groups: dict[str, list[str]] = {step: [] for step in steps}
    for name, _ in model.named_parameters():
        block = f"block {int(name.split('.')[1]) + 1}" if name.startswith("blocks.") else "embedding"
        groups["head" if name.startswith(HEAD_PREFIXES) else block].append(name)
    return [(step, names) for step, names in groups.items() if names]


def num_passes(method: Method, config: ViTConfig) -> int:
    """Forward passes for one image, roughly: a backward pass counts as two."""
    if method.removes_patches:
        return config.num_patches + 1
    return 3 if method.needs_class else 1


def num_multiplications(config: ViTConfig, names: Sequence[str], num_images: int) -> float:
    """Multiplications of a cascade of these methods, roughly."""
    passes = sum(num_passes(METHODS[name], config) for name in names)
    return (config.depth + 3) * num_images * passes * multiplications(config)


def affordable_methods(config: ViTConfig, num_images: int) -> list[str]:
    """The names of the methods for a cascade: without those that remove patches one by one, if it would take long."""
    names = list(available_methods(config))
    is_affordable = num_multiplications(config, names, num_images) <= MAX_MULTIPLICATIONS
    return [name for name in names if is_affordable or not METHODS[name].removes_patches]

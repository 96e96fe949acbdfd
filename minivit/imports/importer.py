"""A file of weights of a timm ViT -> a run folder, to analyse the model on the images of a folder.

Epoch 0 of the run is the same architecture with random weights, epoch 1 the model in the file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from minivit.config import TrainConfig
from minivit.data import list_classes, not_a_class
from minivit.errors import RunError
from minivit.imports.architecture import read_architecture
from minivit.imports.convert import to_minivit
from minivit.imports.state_dict import read_state_dict
from minivit.machine import environment
from minivit.model import MiniViT
from minivit.runs import Run

# Mean and standard deviation of the images that a model was trained on: timm's own ViTs, and ImageNet's.
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


@dataclass(frozen=True)
class ImportOptions:
    """What a file of weights does not show.

    `num_heads` 0 assumes 64 dimensions per head. `class_names` is a text file with a name per line; without it the
    classes are "class 0", "class 1", …. `images_per_class` 0 takes all images.
    """

    num_heads: int = 0
    normalization: str = "half"
    class_names: str | Path | None = None
    images_per_class: int = 0
    act: Literal["gelu", "relu"] = "gelu"


def import_model(
    path: str | Path,
    data_dir: str | Path,
    options: ImportOptions = ImportOptions(),
    runs_dir: str | Path | None = None,
) -> Run:
    """A run with the model in a `.safetensors` or state-dict file, whose test images are those in `data_dir`.

    Class folders whose names are not among the model's classes are shown as no class of the model. Raises RunError for
    a file without such a model, ConfigError for sizes beyond MiniViT's bounds, DataError for the images.
    """
    path = Path(path)
    if options.normalization not in NORMALIZATIONS:
        raise RunError(f"Unknown normalisation {options.normalization!r}. Choose one of {', '.join(NORMALIZATIONS)}.")
    weights = read_state_dict(path)
    vit = read_architecture(weights, path.name, options.num_heads, options.act)
    head_classes = read_class_names(options.class_names, vit.num_classes)
    unknown = [not_a_class(name) for name in list_classes("folder", data_dir) if name not in head_classes]
    config = TrainConfig(
        dataset="folder",
        data_dir=str(data_dir),
        classes=(*head_classes, *unknown),
        images_per_class=options.images_per_class,
        imported=True,
        model=vit,
        epochs=1,
        device="cpu",
    )
    model = MiniViT(config.model)
    states = [dict(model.state_dict()), to_minivit(weights, vit, num_extra=len(unknown))]
    mean, std = (torch.tensor(v[: vit.in_chans]).view(-1, 1, 1) for v in NORMALIZATIONS[options.normalization])
    run = Run.create(config, runs_dir)
    for epoch, state in enumerate(states):
        model.load_state_dict(state | {"mean": mean, "std": std})
        run.save_checkpoint(model, epoch)
    facts = {
        "imported_from": str(path.absolute()),
        "normalization": options.normalization,
        "head_classes": len(head_classes),
    }
    run.set_environment(environment(torch.device("cpu")) | facts)
    run.rename(path.stem)
    run.set_state("done", 1, f"Imported from {path.name}; epoch 0 is the same architecture with random weights.")
    return run


def read_class_names(path: str | Path | None, num_classes: int) -> list[str]:
    """Names of the model's classes: the lines of a text file, or "class 0", …. Repeated names get a number."""
    if not path:
        return [f"class {index}" for index in range(num_classes)]
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise RunError(f"The class names in {path} cannot be read: {error}.") from None
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != num_classes:
        raise RunError(f"{path} names {len(names)} classes, and the model has {num_classes}. Write one name per line.")
    repeats = [names[:index].count(name) for index, name in enumerate(names)]
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, repeats, strict=True)]

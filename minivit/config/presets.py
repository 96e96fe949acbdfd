"""Presets: complete settings with measured accuracy and time."""

from typing import Any

from minivit.config.datasets import CIFAR10_CLASSES
from minivit.config.train import TrainConfig
from minivit.errors import ConfigError

PRESETS: dict[str, str] = {  # accuracies on cat, airplane, frog and truck, times on one or two cores, as in README
    "article": "The article's experiment: one layer, one head, 28,676 parameters. CIFAR-10: 0.69 in about 30 s.",
    "quick": "The same layer with eight heads and a modern recipe, 6 epochs. CIFAR-10: 0.79 in about 6 s.",
    "strong": "Two layers after a convolutional stem, augmentation, Muon. CIFAR-10: 0.895 in less than 5 minutes.",
    "gpu": "Six layers for all ten classes of CIFAR-10 on a GPU: RandAugment, CutMix, EMA. Not measured.",
}

QUICK = {
    "num_heads": 8,
    "mlp_ratio": 4,
    "pos_embed": "learned",
    "normalize": True,
    "whiten": True,
    "epochs": 6,
    "batch_size": 256,
    "optimizer": "muon",
    "lr": 2e-2,
    "schedule": "one-cycle",
    "weight_decay": 0.5,
    "ema": 0.98,
}
STRONG = {
    "stem": "conv",
    "embed_dim": 96,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 2,
    "norm": "pre",
    "pos_embed": "learned",
    "normalize": True,
    "augment": "flip-crop",
    "epochs": 11,
    "batch_size": 128,
    "optimizer": "muon",
    "lr": 3e-3,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "grad_clip": 1,
}
GPU = STRONG | {
    "classes": CIFAR10_CLASSES,
    "split": "official",
    "embed_dim": 256,
    "depth": 6,
    "num_heads": 8,
    "act": "gelu",
    "augment": "rand",
    "mixup": 0.2,
    "cutmix": 1,
    "epochs": 100,
    "batch_size": 512,
    "optimizer": "adamw",
    "lr": 1e-3,
    "warmup_epochs": 5,
    "ema": 0.999,
}
CHANGES: dict[str, dict[str, Any]] = {"article": {}, "quick": QUICK, "strong": STRONG, "gpu": GPU}  # of the article's


def preset(name: str) -> TrainConfig:
    """The settings of a preset; ConfigError for a name that is not in `PRESETS`."""
    if name not in PRESETS:
        raise ConfigError(f"There is no preset {name!r}. Choose one of {', '.join(PRESETS)}.")
    return TrainConfig().changed(**CHANGES[name])

"""Every setting once, for the form, the command line and `config.json`; presets."""

from minivit.config.datasets import CIFAR10_CLASSES, DATASETS, SHAPES_CLASSES, Dataset, DatasetInfo
from minivit.config.settings import (
    ARTICLE_CLASSES,
    PRESETS,
    SCHEMA_VERSION,
    Setting,
    Settings,
    TrainConfig,
    ViTConfig,
    describe,
    fit_setting,
    preset,
    setting,
    settings,
)

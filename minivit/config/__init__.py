"""Every setting once, for the form, the command line and `config.json`; presets."""

from minivit.config.settings import (
    ARTICLE_CLASSES,
    CIFAR10_CLASSES,
    PRESETS,
    SCHEMA_VERSION,
    Dataset,
    Setting,
    Settings,
    TrainConfig,
    ViTConfig,
    describe,
    fit_setting,
    native_settings,
    preset,
    setting,
    settings,
)

"""Every setting once, for the form, the command line and `config.json`; facts of the data sets; presets."""

from minivit.config.datasets import DATASETS, SHAPES_CLASSES, Dataset
from minivit.config.fields import Setting, Settings, describe, setting
from minivit.config.presets import PRESETS, preset
from minivit.config.train import ARTICLE_CLASSES, SCHEMA_VERSION, TrainConfig, settings, validate
from minivit.config.vit import Preprocessing, ViTConfig

"""What a training is: its data for `environment.json`, and its size for the log."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from minivit.engine.training import Training


def data_facts(training: Training) -> dict[str, Any]:
    """The part of `environment.json` about the data."""
    train_set, test_set = training.train_set, training.test_set
    return {
        "num_train": len(train_set),
        "num_test": len(test_set),
        "num_majority": int(test_set.labels.bincount().max()),
        "images": training.train_source.location,
        "skipped_files": list(train_set.skipped),
        "data_fingerprint": f"{train_set.fingerprint()} {test_set.fingerprint()}",
    }


def describe(training: Training, initial: Mapping[str, Tensor] | None) -> str:
    """The size of the run in one line, and where its `initial` weights come from if they are not random."""
    source = training.train_source
    world_size = training.group.world_size
    num_parameters = sum(parameter.numel() for parameter in training.model.parameters())
    num_threads = torch.get_num_threads()
    return (
        f"{len(source):,} training and {len(training.test_set):,} test images {source.location}; "
        f"{num_parameters:,} parameters, {training.steps_per_epoch:,} steps per epoch, "
        f"on {training.device} with {num_threads} CPU thread{'s' * (num_threads != 1)}"
        + (f" in each of {world_size} processes" if world_size > 1 else "")
        + (f"; initial weights from {training.config.init_from}" if initial else "")
        + (
            ", with a new classification head, as the classes differ"
            if initial and "head.weight" not in initial
            else ""
        )
    )

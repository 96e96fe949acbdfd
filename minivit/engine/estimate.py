"""How long a run will take on this machine."""

import heapq
import time
from collections.abc import Sequence

import torch

from minivit.config import TrainConfig
from minivit.engine.control import explain_memory_error
from minivit.engine.schedule import epoch_scalars
from minivit.engine.step import TrainStep
from minivit.inference import num_parameters
from minivit.machine import choose_threads, num_cores, pick_device, threads_for
from minivit.model import MiniViT

TIMING_SECONDS = 2  # for timing steps of a batch
MAX_TIMED_BATCH = 64
MAX_TIMED = 10**9  # multiplications per image; larger models are estimated by their operations
SECONDS_PER_OPERATION = 6e-9  # forward and backward, on one core


def speed_settings(config: TrainConfig) -> TrainConfig:
    """`config` without the settings that do not affect the duration of a run, so that estimates can be shared."""
    names = ("lr", "seed", "weight_decay", "label_smoothing", "schedule", "warmup_epochs", "init_from")
    return config.changed(**{name: TrainConfig.model_fields[name].default for name in names})


def seconds_until_done(seconds: Sequence[float], num_runs: int, num_parallel: int) -> float:
    """Seconds until `num_runs` runs have ended, of which `seconds` is a sample in order; each worker takes the next."""
    ends = [0.0] * num_parallel  # a heap: when each worker is free
    for index in range(num_runs):
        heapq.heapreplace(ends, ends[0] + seconds[index * len(seconds) // num_runs])
    return max(ends)


def estimate_seconds(config: TrainConfig, num_train: int, num_test: int) -> float:
    """The estimated seconds of a complete run on this machine, from timing a few steps on random images.

    Processes on several devices share the images; their communication is ignored.
    """
    if config.minutes:
        return 60 * config.minutes
    num_processes = num_parallel = config.devices
    device = pick_device(config.device, local_world_size=num_processes)
    if device.type == "cpu":  # processes beyond the number of cores wait for each other
        num_parallel = min(num_processes, max(1, num_cores() // choose_threads(config, num_processes)))
    num_images = config.epochs * (num_train + num_test / 3) / num_parallel  # evaluation has no backward pass

    model = MiniViT(config.model).to(device)
    num_tokens = config.model.num_tokens
    num_operations = num_parameters(config.model) * num_tokens
    num_operations += 20 * config.model.depth * config.model.num_heads * num_tokens**2  # attention
    if num_operations > MAX_TIMED:
        return SECONDS_PER_OPERATION * num_operations * num_images

    train_step = TrainStep(config.changed(compile="off"), model)
    batch_size = min(-(-config.batch_size // num_processes), MAX_TIMED_BATCH)
    with threads_for(config, num_processes), explain_memory_error(config):
        return num_images * _seconds_per_image(train_step, batch_size)


def _seconds_per_image(train_step: TrainStep, batch_size: int) -> float:
    """Seconds per image of the fastest of a few steps on random images."""
    config = train_step.config
    device = train_step.device
    scalars = epoch_scalars(config, 1, [1]).to(device)[0]
    shape = (config.model.in_chans, config.model.img_size, config.model.img_size)

    def measure(batch_size: int) -> float:
        images = torch.rand(batch_size, *shape, device=device)
        start = time.perf_counter()
        train_step(images, torch.zeros(batch_size, dtype=torch.int64, device=device), scalars)
        train_step.sums.tolist()  # synchronizes with the device
        return (time.perf_counter() - start) / batch_size

    measure(2)  # warm-up
    fastest = min(measure(2) for _ in range(2))  # the only measurement of a large model
    num_timed = 0
    deadline = time.perf_counter() + TIMING_SECONDS
    while fastest * batch_size < 10 * TIMING_SECONDS and num_timed < 10 and time.perf_counter() < deadline:
        fastest = min(fastest, measure(batch_size))
        num_timed += 1
    return fastest

"""How long a training will take on this machine."""

import time

import torch

from minivit.config import TrainConfig
from minivit.engine.control import enough_memory
from minivit.engine.step import Step
from minivit.machine import choose_threads, num_cores, pick_device, threads_for
from minivit.model import MiniViT, num_parameters

TRY_SECONDS = 2  # for trying steps of a batch
GUESS_ABOVE = 10**9  # multiplications an image; a larger model is not tried out to say how long it will take


def estimate_seconds(config: TrainConfig, num_train: int, num_test: int) -> float:
    """How long the whole training will take here, from timing a few steps of the real model on random images.

    Processes on several devices share the images; what they tell each other is not counted.
    """
    processes = config.devices
    device = pick_device(config.device, needed=processes)
    if device.type == "cpu":  # more of them than there are cores wait for each other
        side_by_side = min(processes, max(1, num_cores() // choose_threads(config, processes)))
    else:
        side_by_side = processes
    num_images = config.epochs * (num_train + num_test / 3) / side_by_side  # evaluating has no backward pass
    model = MiniViT(config.model).to(device)
    num_weights = num_parameters(config.model) * (config.model.num_patches + 1)
    attended = config.model.depth * config.model.num_heads * (config.model.num_patches + 1) ** 2
    if num_weights + 20 * attended > GUESS_ABOVE:  # too large to try out; a core does some 10⁹ such steps a second
        return 6e-9 * (num_weights + 20 * attended) * num_images
    step = Step(config.changed(compile="off"), model)
    factors = torch.tensor(step.factors(config.lr, 0, 1), device=device)
    shape = (config.model.in_chans, config.model.img_size, config.model.img_size)

    def seconds_per_image(num: int) -> float:
        images = torch.rand(num, *shape, device=device)
        begun = time.perf_counter()
        step(images, torch.zeros(num, dtype=torch.int64, device=device), factors)
        step.sums.tolist()  # waits for the device
        return (time.perf_counter() - begun) / num

    with threads_for(config, processes), enough_memory(config):
        seconds_per_image(2)  # pays for warming up
        fastest = min(seconds_per_image(2) for _ in range(2))  # a large model is judged by this alone
        batch = min(-(-config.batch_size // processes), 64)
        tried, until = 0, time.perf_counter() + TRY_SECONDS
        while fastest * batch < 10 * TRY_SECONDS and tried < 10 and time.perf_counter() < until:
            fastest, tried = min(fastest, seconds_per_image(batch)), tried + 1
    return num_images * fastest

"""How long a training will take on this machine."""

import time

import torch

from minivit.config import TrainConfig
from minivit.engine.control import enough_memory
from minivit.engine.step import Step
from minivit.machine import pick_device, threads_for
from minivit.model import MiniViT, num_parameters

GUESS_ABOVE = 10**9  # multiplications an image; a larger model is not tried out to say how long it will take


def estimate_seconds(config: TrainConfig, num_train: int, num_test: int) -> float:
    """How long the whole training will take here, from timing a few steps of the real model on random images."""
    device = pick_device(config.device)
    model = MiniViT(config.model).to(device)
    num_weights = num_parameters(config.model) * (config.model.num_patches + 1)
    attended = config.model.depth * config.model.num_heads * (config.model.num_patches + 1) ** 2
    if num_weights + 20 * attended > GUESS_ABOVE:  # too large to try out; a core does some 10⁹ such steps a second
        return 6e-9 * (num_weights + 20 * attended) * config.epochs * (num_train + num_test / 3)
    step = Step(config.changed(compile="off"), model)
    factors = torch.tensor(step.factors(config.lr, 0, 1), device=device)
    shape = (config.model.in_chans, config.model.img_size, config.model.img_size)

    def seconds_per_image(num_images: int) -> float:
        images = torch.rand(num_images, *shape, device=device)
        begun = time.perf_counter()
        step(images, torch.zeros(num_images, dtype=torch.int64, device=device), factors)
        step.sums.tolist()  # waits for the device
        return (time.perf_counter() - begun) / num_images

    with threads_for(config), enough_memory(config):
        seconds_per_image(2)  # pays for warming up
        fastest = seconds_per_image(2)  # a large model is judged by this alone
        batch = min(config.batch_size, 64)
        if fastest * batch < 2:
            fastest = min(seconds_per_image(batch) for _ in range(10))
    return config.epochs * fastest * (num_train + num_test / 3)  # evaluating has no backward pass

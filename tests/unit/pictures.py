"""Pictures as files: blobs before gradients, with the fine noise of photographs."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw


def picture(seed: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """A blob before a gradient, with the fine noise of a photograph."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(*rng.uniform(0, 255, (2, 3)), size[0])
    image = Image.fromarray(np.broadcast_to(ramp, (size[1], size[0], 3)).astype(np.uint8))
    corner = rng.uniform(0, 0.5, 2) * size
    ImageDraw.Draw(image).ellipse((*corner, *(corner + np.array(size) / 2)), tuple(rng.integers(0, 255, 3).tolist()))
    noisy = np.asarray(image) + rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def fill(root: Path, seed: int = 0, **counts: int) -> Path:
    """`counts[name]` PNG files in each class folder: 0.png, 1.png, …"""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed += 1
            picture(seed).save(root / name / f"{number}.png")
    return root


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)

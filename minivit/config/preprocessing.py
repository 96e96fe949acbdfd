"""How images are resized for an imported model, if that differs from ours."""

from typing import Literal

from pydantic import Field

from minivit.config.fields import Settings


class Preprocessing(Settings):
    """Resizing, then a center crop to the model's image size, as the model's own library does it.

    `size` is the length of the shorter side in pixels, or of both sides if `keep_aspect` is off. timm and
    torchvision resize PIL images; Hugging Face resizes tensors (`on_tensors`), which rounds differently.
    """

    size: int = Field(ge=1, le=4096)
    keep_aspect: bool = True
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bicubic"
    on_tensors: bool = False

"""One image with its prediction and attention at one checkpoint, and its export formats."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minivit.attention import Head, head_title, write_head
from minivit.attention.image_attention import AttentionInputs, attention_inputs, head_matrix, layer_matrices
from minivit.attention.maps import num_affordable, to_model
from minivit.config import ViTConfig
from minivit.data import ImageSet, evenly_spaced, load_split
from minivit.errors import ConfigError
from minivit.export.bertviz import bertviz_html, bertviz_model_html, check_layers, tokens
from minivit.export.picture import MapPicture
from minivit.figures import attention_scale
from minivit.fused import forward_cls
from minivit.inference import eval_mode
from minivit.model import MiniViT
from minivit.runs import Run

NO_INDEX = -1
MAX_VALUES = 1e8  # of attention in one .npz: 400 MB
MAX_BERTVIZ_VALUES = 3e6  # of a BertViz page, about 8 bytes each, that a browser can still open
NUM_SCALE_IMAGES = 32  # images that a run's color scale is computed from


@dataclass(frozen=True, eq=False)
class ImageExport:
    """One image with its prediction and attention: L layers, H heads, N tokens, K classes. Indices count from 0."""

    run: Run
    epoch: int
    index: int  # of the test image; NO_INDEX for the user's own picture
    name: str  # "image 5", or a picture's file name
    image: Tensor  # uint8 (C, H, W)
    label: int | None  # None for the user's own picture
    classes: tuple[str, ...]
    model: MiniViT
    inputs: AttentionInputs  # from which any part of the attention (L, H, N, N) is computed
    scale: tuple[float, float]  # the run's absolute color scale

    @classmethod
    def of(cls, run: Run, epoch: int | None, index: int) -> "ImageExport":
        """Test image `index` of the run after `epoch` (the newest by default).

        RunError if there is no such checkpoint, DataError if there is no such image.
        """
        model = run.load_model(epoch)
        test_set = load_split(run.config)[1]
        image = test_set.pick(index)
        return cls(
            run=run,
            epoch=run.epochs()[-1] if epoch is None else epoch,
            index=index,
            name=f"image {index}",
            image=image.images[0],
            label=int(image.labels[0]),
            classes=image.classes,
            model=model,
            inputs=attention_inputs(model, image.images[:]),
            scale=model_scale(model, test_set),
        )

    def file_name(self, stem: str, suffix: str) -> str:
        """A descriptive file name: 'attention-image5-epoch3.json'."""
        name = re.sub(r"[^\w-]+", "", Path(self.name).stem) or "picture"
        return f"{stem}-{name}-epoch{self.epoch}{suffix}"

    @property
    def probs(self) -> Tensor:
        return self.inputs.probs

    def matrix(self, layer: int, head: Head) -> Tensor:
        """One layer's attention by one head, or the mean or maximum over its heads, (N, N).

        ConfigError if there is no such layer or head.
        """
        L, H = self.model.config.depth, self.model.config.num_heads
        if not 0 <= layer < L:
            raise ConfigError(f"There is no layer {layer + 1}; the model has {L}. Choose 1 to {L}.")
        if head not in ("mean", "max", *range(H)):
            raise ConfigError(f"There is no head {write_head(head)}. Choose 1 to {H}, 'mean' or 'max'.")
        return head_matrix(self.model, self.inputs, layer, head)

    def attention(self, layers: Sequence[int] | None = None, max_values: float = MAX_VALUES) -> list[Tensor]:
        """The attention of each layer (H, N, N), empty if not in `layers`; ConfigError if that exceeds `max_values`."""
        config = self.model.config
        selected = check_layers(config.depth, layers)
        num_values = len(selected) * config.num_heads * (config.num_patches + 1) ** 2
        if num_values > max_values:
            raise ConfigError(
                f"The attention of {len(selected)} layers has {num_values:,} values, and this file holds at most "
                f"{max_values:,.0f}. Choose fewer layers, or export one layer and head as JSON or as a picture."
            )
        H = config.num_heads
        return [
            layer_matrices(self.model, self.inputs, layer) if layer in selected else torch.empty(H, 0, 0)
            for layer in range(config.depth)
        ]

    def json(self, layer: int, head: Head) -> str:
        """The article's JSON of one layer and head: {"tokens": ["[CLS]", "p0", …], "attentions": N × N}."""
        attn = self.matrix(layer, head)
        return json.dumps({"tokens": tokens(len(attn) - 1), "attentions": attn.tolist()})

    def npz(self) -> bytes:
        """Everything about the image as a compressed `.npz` that `np.load(file, allow_pickle=False)` reads.

        `attn` (L, H, N, N) and `probs` (K,) float32, `image` uint8 (C, H, W), `tokens` (N,) and `classes` (K,) text.
        """
        attn = torch.stack(self.attention())
        file = io.BytesIO()
        np.savez_compressed(
            file,
            allow_pickle=False,
            attn=attn.numpy(),
            probs=self.probs.numpy(),
            image=self.image.numpy(),
            label=np.array(NO_INDEX if self.label is None else self.label),
            tokens=np.array(tokens(attn.shape[-1] - 1)),
            classes=np.array(self.classes),
            run=np.array(self.run.id),
            epoch=np.array(self.epoch),
            number=np.array(self.index),  # its name since the first version
            name=np.array(self.name),
        )
        return file.getvalue()

    def picture(self, layer: int, head: Head) -> MapPicture:
        """The CLS map over the image, on the run's scale."""
        true = "" if self.label is None else f"{self.classes[self.label]} → "
        predicted = self.classes[int(self.probs.argmax())] if len(self.probs) else "no prediction"
        where = f"layer {layer + 1}, {head_title(head)} · {self.run.checkpoint_title(self.epoch)} · {self.run.id}"
        title = f"{self.name}: {true}{predicted} · {where}"
        values = self.matrix(layer, head)[0, 1:].numpy()
        return MapPicture(self.image.numpy(), values, self.scale, 1 / self.model.config.num_tokens, title)

    def bertviz(self, layer: int, layers: list[int] | None = None) -> str:
        attn = self.attention(layers, MAX_BERTVIZ_VALUES)
        return bertviz_html(attn, layer, layers=layers, image=self.image)

    def bertviz_model(self, layers: list[int] | None = None) -> str:
        return bertviz_model_html(self.attention(layers, MAX_BERTVIZ_VALUES), layers=layers, image=self.image)


def num_scale_images(config: ViTConfig) -> int:
    """The number of test images that a color scale is computed from: as many as take about a second, at most 32."""
    return num_affordable(config, NUM_SCALE_IMAGES, 1)


def model_scale(model: MiniViT, test_set: ImageSet) -> tuple[float, float]:
    """The absolute color scale of a model's maps, (0, high), from evenly spaced test images."""
    indices = evenly_spaced(len(test_set), num_scale_images(model.config))
    with eval_mode(model):
        rows = [
            torch.stack(forward_cls(model, model.embed(to_model(model, test_set.images[[index]])))[1], dim=1)
            for index in indices
        ]
    cls_maps = torch.cat(rows)[:, :, :, 0, model.config.num_prefix_tokens :]
    return attention_scale(cls_maps.cpu().numpy(), model.config.num_tokens)

"""One test image as one checkpoint of a run sees it, and every file that can be made of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from minivit.attention import Head, attend, write_head
from minivit.data import ImageSet, load_split
from minivit.data.image_set import evenly_spaced
from minivit.export.arrays import article_json, attention_npz, one_head
from minivit.export.bertviz import bertviz_html, bertviz_model_html
from minivit.export.picture import MapPicture
from minivit.figures import attention_scale
from minivit.model import MiniViT
from minivit.runs import Checkpoint, Run

NUM_SCALE_IMAGES = 32  # images that a run's color scale is computed from


@dataclass(frozen=True, eq=False)
class ImageExport:
    """One image with its prediction and attention: L layers, H heads, N tokens, K classes. Indices count from 0."""

    run_id: str
    epoch: int
    index: int  # of the test image
    image: Tensor  # uint8 (C, H, W)
    label: int
    classes: tuple[str, ...]
    probs: Tensor  # (K,)
    attn: Tensor  # (L, H, N, N)
    scale: tuple[float, float]  # the run's absolute color scale

    @classmethod
    def of(cls, run: Run, epoch: int | None, index: int) -> "ImageExport":
        """Test image `index` of the run after `epoch` (the newest by default).

        Raises RunError without such a checkpoint, DataError without such an image.
        """
        model, test_set = run.load_model(epoch), load_split(run.config)[1]
        image = test_set.pick(index)
        probs, attn = attend(model, image.images[:])
        return cls(
            run_id=run.id,
            epoch=run.epochs()[-1] if epoch is None else epoch,
            index=index,
            image=image.images[0],
            label=int(image.labels[0]),
            classes=image.classes,
            probs=probs[0],
            attn=attn[0],
            scale=model_scale(model, test_set),
        )

    def file_name(self, stem: str, suffix: str) -> str:
        """A file name that tells the content: 'attention-image5-epoch3.json'."""
        return f"{stem}-image{self.index}-epoch{self.epoch}{suffix}"

    def json(self, layer: int, head: Head) -> str:
        """The article's JSON of one layer and head."""
        return article_json(one_head(self.attn, layer, head))

    def npz(self) -> bytes:
        """All numbers as NumPy arrays."""
        source: dict[str, str | int] = {"run": self.run_id, "epoch": self.epoch, "number": self.index}
        return attention_npz(self.attn, self.probs, self.image, label=self.label, classes=self.classes, **source)

    def picture(self, layer: int, head: Head) -> MapPicture:
        """The CLS map over the image, on the run's scale."""
        heads = f"{head} over heads" if isinstance(head, str) else f"head {write_head(head)}"
        title = (
            f"image {self.index}: {self.classes[self.label]} → {self.classes[int(self.probs.argmax())]} · "
            f"layer {layer + 1}, {heads} · {Checkpoint(self.epoch).title} · {self.run_id}"
        )
        values = one_head(self.attn, layer, head)[0, 1:].numpy()
        return MapPicture(self.image.numpy(), values, self.scale, 1 / self.attn.shape[-1], title)

    def bertviz(self, layer: int, layers: list[int] | None = None) -> str:
        """BertViz's head view, with the patches."""
        return bertviz_html(self.attn, layer, layers=layers, image=self.image)

    def bertviz_model(self, layers: list[int] | None = None) -> str:
        """BertViz's model view, with the patches."""
        return bertviz_model_html(self.attn, layers=layers, image=self.image)


def model_scale(model: MiniViT, test_set: ImageSet) -> tuple[float, float]:
    """The absolute color scale of a model's maps, (0, high), from evenly spaced test images."""
    indices = torch.tensor(evenly_spaced(len(test_set), NUM_SCALE_IMAGES))
    _, attn = attend(model, test_set.images[indices])
    return attention_scale(attn[:, :, :, 0, 1:].numpy(), num_tokens=attn.shape[-1])

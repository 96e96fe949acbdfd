"""One test image as one epoch of a run sees it, and every file that can be made of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from minivit.attention import Head, attend, write_head
from minivit.data import ImageSet, load_split
from minivit.export.arrays import article_json, attention_npz, one_head
from minivit.export.bertviz import bertviz_html, bertviz_model_html
from minivit.export.picture import MapPicture
from minivit.figures import absolute_scale, evenly_spaced
from minivit.model import MiniViT
from minivit.runs import Checkpoint, Run

NUM_SCALE_IMAGES = 32  # images that a run's colour scale is taken from


@dataclass(frozen=True, eq=False)
class OneImage:
    """What is known of one image: L layers, H heads, N tokens, K classes. Layers and heads count from 0."""

    run_id: str
    epoch: int
    number: int  # of the test image
    image: Tensor  # uint8 (C, H, W)
    label: int
    classes: tuple[str, ...]
    probs: Tensor  # (K,)
    attn: Tensor  # (L, H, N, N)
    scale: tuple[float, float]  # the run's absolute colour scale

    @classmethod
    def look(cls, run: Run, epoch: int | None, number: int) -> "OneImage":
        """Image `number` of the run's test images after `epoch`, or the newest kept.

        Raises RunError without such weights, DataError without such an image.
        """
        model, test_set = run.load_model(epoch), load_split(run.config)[1]
        picked = test_set.pick(number)
        probs, attn = attend(model, picked.images[:])
        return cls(
            run.id, run.epochs()[-1] if epoch is None else epoch, number, picked.images[0], int(picked.labels[0]),
            picked.classes, probs[0], attn[0], model_scale(model, test_set),
        )  # fmt: skip

    def name(self, what: str, suffix: str) -> str:
        """A file name that says what is inside: 'attention-image5-epoch3.json'."""
        return f"{what}-image{self.number}-epoch{self.epoch}{suffix}"

    def json(self, layer: int, head: Head) -> str:
        """The article's JSON of one layer and head."""
        return article_json(one_head(self.attn, layer, head))

    def npz(self) -> bytes:
        """All numbers as NumPy arrays."""
        return attention_npz(
            self.attn, self.probs, self.image, label=self.label, classes=self.classes, run=self.run_id,
            epoch=self.epoch, number=self.number,
        )  # fmt: skip

    def picture(self, layer: int, head: Head) -> MapPicture:
        """What CLS looks at, over the image, on the run's scale."""
        by = f"{head} over heads" if isinstance(head, str) else f"head {write_head(head)}"
        said = self.classes[int(self.probs.argmax())]
        title = (
            f"image {self.number}: {self.classes[self.label]}, called {said} · layer {layer + 1}, {by} · "
            f"{Checkpoint(self.epoch).title} · {self.run_id}"
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
    """The absolute colour scale of a model's maps, (0, high), from images spread over the test ones."""
    chosen = torch.tensor(evenly_spaced(len(test_set), NUM_SCALE_IMAGES))
    _, attn = attend(model, test_set.images[chosen])
    return absolute_scale(attn[:, :, :, 0, 1:].numpy(), num_tokens=attn.shape[-1])

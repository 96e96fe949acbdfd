"""The example run: how it is made, and the test images of it that the tour shows.

It is a small ViT on synthetic shapes, trained in less than two minutes. Make it again, with `python -m minivit.tour`,
whenever the drawing of the shapes or the run folder changes. The images are found by what they show, never by hand.

B images, P patches, K classes. Attention is that of CLS in the last layer, the mean over its heads, as the page
Attention shows it first.
"""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from minivit.attention import attend
from minivit.attention.localization import energy_inside, uniform_energy
from minivit.attention.maps import batches, to_model
from minivit.config import preset
from minivit.data import Images, ImageSet, load_split
from minivit.engine import Events, train
from minivit.errors import DataError
from minivit.fused import forward_cls
from minivit.inference import eval_mode
from minivit.model import MiniViT
from minivit.runs import EXAMPLE, Run

# Two layers of four heads, so that there is something to compare, and eight dimensions a head, which fit on a page
CONFIG = preset("article").changed(
    dataset="shapes",
    classes=("star", "heart", "cross", "ring"),
    depth=2,
    num_heads=4,
    embed_dim=32,
    mlp_ratio=2,
    norm="pre",
    pos_embed="learned",
    normalize=True,
    optimizer="adamw",
    lr=2e-3,
    schedule="one-cycle",
    weight_decay=0.05,
    epochs=20,
    device="cpu",
    threads=1,
    compile="off",
)
KEPT_EPOCHS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 20)
FILES = ("config.json", "metrics.jsonl", "state.json")
FACTS = ("device", "threads", "num_train", "num_test", "data_fingerprint")  # of environment.json, none of a person


def make_example(folder: Path = EXAMPLE) -> None:
    """Trains the example run and replaces `folder` by it."""
    with tempfile.TemporaryDirectory() as temporary:
        run = Run.create(CONFIG, temporary)
        train(CONFIG, run, Events(log=lambda line: print(line, flush=True)))
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "checkpoints").mkdir(parents=True)
        for path in [*map(run.path.joinpath, FILES), *map(run.checkpoint_path, KEPT_EPOCHS)]:
            shutil.copyfile(path, folder / path.relative_to(run.path))
        example = Run(folder, CONFIG)
        example.set_environment({name: run.environment[name] for name in FACTS if name in run.environment})
        highlights = find_highlights(example.load_model(), load_split(CONFIG)[1])
        (folder / HIGHLIGHTS).write_text(json.dumps(asdict(highlights), indent=2) + "\n", encoding="utf-8")


HIGHLIGHTS = "highlights.json"  # in the folder of the run
MIN_CONFIDENCE = 0.5
MIN_RATIO = 2  # of the most attended patch to uniform attention


@dataclass(frozen=True)
class Highlights:
    """Two test images by their indices, the most attended patch of each and a head, all from 0.

    Both are classified correctly, and their shapes are not cut by the border of the image.
    """

    image: int  # whose attention lies most on the shape
    patch: int
    head: int  # that attends to this patch most
    misleading_image: int  # whose most attended patch speaks against the class
    misleading_patch: int
    misleading_class: str
    ratio: float  # of that patch's attention to uniform attention
    probability: float  # of the class
    probability_masked: float  # the same without the patch


def find_highlights(model: MiniViT, test_set: ImageSet) -> Highlights:
    """The images that show best what the tour explains; DataError if no image has a misleading patch."""
    assert isinstance(test_set.masks, Tensor)  # the data set 'shapes' has them
    probs, maps = attend_all(model, test_set.images)
    correct = (probs.argmax(1) == test_set.labels) & ~touches_border(test_set.masks)
    inside = energy_inside(maps, test_set.masks, model.config.patch_size) - uniform_energy(test_set.masks)
    image = int(inside.where(correct, -1).argmax())
    masked = without_top_patch(model, test_set.images, maps)
    before, after = (each.gather(1, test_set.labels[:, None])[:, 0] for each in (probs, masked))
    ratios = maps.amax(1) * model.config.num_tokens
    rises = (after - before).where(correct & (before >= MIN_CONFIDENCE) & (ratios >= MIN_RATIO), 0)
    other = int(rises.argmax())
    if rises[other] <= 0:
        raise DataError("No image of the example has a most attended patch that misleads. Choose another seed.")
    patch = int(maps[image].argmax())
    _, attn = attend(model, test_set.images[image : image + 1])
    return Highlights(
        image,
        patch,
        int(attn[0, -1, :, 0, patch + model.config.num_prefix_tokens].argmax()),
        other,
        int(maps[other].argmax()),
        test_set.classes[test_set.labels[other]],
        *(round(float(values[other]), 6) for values in (ratios, before, after)),
    )


def touches_border(masks: Tensor) -> Tensor:
    """Whether an object, its mask bool (B, H, W), reaches the border of its image, (B,)."""
    return masks[:, [0, -1]].flatten(1).any(1) | masks[:, :, [0, -1]].flatten(1).any(1)


def attend_all(model: MiniViT, images: Images, keep_idx: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K) and maps (B, n) of all images, with all patches or with `keep_idx` (B, n) alone."""
    parts = []
    first = 0
    with eval_mode(model):
        for batch in batches(model, images):
            idx = None if keep_idx is None else keep_idx[first : first + len(batch)]
            logits, rows = forward_cls(model, model.embed(to_model(model, batch), idx), keep_idx=idx)
            parts.append((logits.softmax(1), rows[-1][:, :, 0, model.config.num_prefix_tokens :].mean(1)))
            first += len(batch)
    probs, maps = zip(*parts, strict=True)
    return torch.cat(probs), torch.cat(maps)


def without_top_patch(model: MiniViT, images: Images, maps: Tensor) -> Tensor:
    """Probabilities (B, K) when the most attended patch of each image, by its map (B, P), is masked."""
    B, P = maps.shape
    patches = torch.arange(P).expand(B, P)
    return attend_all(model, images, patches[patches != maps.argmax(1, keepdim=True)].view(B, P - 1))[0]


def read_highlights() -> Highlights:
    """The images of the example run, as they were found when it was made."""
    return Highlights(**json.loads((EXAMPLE / HIGHLIGHTS).read_text(encoding="utf-8")))


def example_run() -> Run:
    return Run.open(EXAMPLE)

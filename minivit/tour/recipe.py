"""How the example run is made: a small ViT on synthetic shapes, trained in less than two minutes.

Make it again, with `python -m minivit.tour`, whenever the drawing of the shapes or the run folder changes.
"""

import shutil
import tempfile
from pathlib import Path

from minivit.config import preset
from minivit.data import load_split
from minivit.engine import Events, train
from minivit.runs import EXAMPLE, Run
from minivit.tour.highlights import find_highlights, write_highlights

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
        write_highlights(folder, find_highlights(example.load_model(), load_split(CONFIG)[1]))

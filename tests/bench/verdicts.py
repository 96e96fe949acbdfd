"""How often verdicts call maps "better" that carry no information, on real images.

python -m tests.bench.verdicts untrained --preset quick --data-dir DIR     untrained models of a preset
python -m tests.bench.verdicts random RUN_DIR                              random maps, on a trained model
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from minivit.attention.faithfulness import area, faithfulness, maps_of_others, random_baseline
from minivit.attention.localization import control_maps
from minivit.attention.methods import METHODS
from minivit.attention.verdicts import ALPHA, compare
from minivit.config import TrainConfig, preset
from minivit.data import ImageSet, load_split
from minivit.data.image_set import evenly_by_class
from minivit.engine.training import Training
from minivit.inference import logits
from minivit.model import MiniViT
from minivit.runs import Run

POOL_SIZE = 1000  # random rankings of each image
NUM_RANKINGS = 8  # as on the Attention page, which corrects no p


def untrained(config: TrainConfig, seeds: range, num_images: int) -> Iterator[str]:
    """The outcomes of four maps on models with the initial weights of `config`, one line a model; then counts."""
    counts: Counter[str] = Counter()
    train_set, test_set = load_split(config)
    images = sample(test_set, num_images)
    for seed in seeds:
        model = Training(config.changed(seed=seed), torch.device("cpu"), train_set, test_set).model.eval()
        classes = logits(model, images).argmax(1)
        num_patches = model.config.num_patches
        generator = torch.Generator().manual_seed(seed)
        rankings = torch.rand(len(images), NUM_RANKINGS, num_patches, generator=generator)
        baseline = random_baseline(model, images, classes, rankings)
        maps = control_maps(images, model.config.patch_size) | {
            "one random map": torch.rand(1, num_patches, generator=generator).repeat(len(images), 1),
            "CLS map": METHODS["cls_map"].attribute(model, images, classes),
        }
        cells = []
        for name, values in maps.items():
            result = faithfulness(model, images, classes, values, baseline, maps_of_others(values), reference=values)
            outcomes = [verdict.outcome for verdict in result.verdicts]
            counts[f"{name}: {', '.join(outcomes)}"] += 1
            gains = [each.difference for v in result.verdicts for each in (v.random, v.others) if each]
            cells.append(f"{name} {' '.join(f'{gain:+.4f}' for gain in gains)}")
        yield f"model {seed}: {'; '.join(cells)}"
    for outcomes, count in sorted(counts.items()):
        yield f"{outcomes}: {count} of {len(seeds)}"


def random_maps(model: MiniViT, images: Tensor, repetitions: int) -> str:
    """The share of `repetitions` tests of random maps, one for each image, with p below `ALPHA`, and to which side.

    Each map and its controls are drawn from the same `POOL_SIZE` random rankings of an image.
    """
    classes = logits(model, images).argmax(1)
    generator = torch.Generator().manual_seed(0)
    rankings = torch.rand(len(images), POOL_SIZE, model.config.num_patches, generator=generator)
    areas = area(random_baseline(model, images, classes, rankings))
    below = above = 0
    for _ in range(repetitions):
        indices = torch.rand(areas.shape, generator=generator).argsort(1)[:, : NUM_RANKINGS + 1]
        sampled_areas = areas.gather(1, indices)
        result = compare(sampled_areas[:, 0], sampled_areas[:, 1:])
        below += result.p < ALPHA and result.difference < 0
        above += result.p < ALPHA and result.difference > 0
    shares = (f"{count / repetitions:.2%}" for count in (below + above, below, above))
    return "p < {}: {} of {:,}; below random rankings {}, above {}".format(ALPHA, next(shares), repetitions, *shares)


def sample(test_set: ImageSet, num_images: int) -> Tensor:
    return test_set.images[evenly_by_class(test_set.labels, num_images)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.verdicts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    models = commands.add_parser("untrained")
    models.add_argument("--preset", default="article")
    models.add_argument("--data-dir", required=True, help="CIFAR-10 as folders of images")
    models.add_argument("--models", type=int, default=30)
    models.add_argument("--first-seed", type=int, default=0)
    models.add_argument("--images", type=int, default=128)
    maps = commands.add_parser("random")
    maps.add_argument("run_dir", type=Path)
    maps.add_argument("--images", type=int, default=64)
    maps.add_argument("--repetitions", type=int, default=2000)
    args = parser.parse_args()
    if args.command == "untrained":
        config = preset(args.preset).changed(dataset="folder", data_dir=args.data_dir, split="official")
        seeds = range(args.first_seed, args.first_seed + args.models)
        for line in untrained(config, seeds, args.images):
            print(line, flush=True)
    else:
        run = Run.open(args.run_dir)
        print(random_maps(run.load_model(), sample(load_split(run.config)[1], args.images), args.repetitions))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

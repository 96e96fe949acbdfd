"""Commands about this machine: bench and download."""

import argparse
from itertools import chain
from pathlib import Path

from minivit import data
from minivit.cli.options import Commands, ProgressBar
from minivit.config import ARTICLE_CLASSES, DATASETS
from minivit.errors import ConfigError

BENCH_PARTS = ("training", "together", "load", "gpu")


def add_commands(commands: Commands) -> None:
    parser = commands.add_parser("bench", help="training speed of this machine compared to the notebook's operations")
    parser.add_argument("--dataset", choices=DATASETS, default="cifar10", help="data set (default: cifar10)")
    parser.add_argument("--data-dir", default="", help="folder that contains the images")
    parser.add_argument("--classes", nargs="+", metavar="NAME", default=ARTICLE_CLASSES, help="default: the article's")
    parser.add_argument("--rounds", type=int, default=3, help="alternating epochs of each implementation (default: 3)")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=BENCH_PARTS,
        default=BENCH_PARTS[:2],
        help="what to measure (default: all but gpu)",
    )
    parser.add_argument("--output", type=Path, help="JSON file for the measurements")
    parser.set_defaults(command=_bench)

    parser = commands.add_parser("download", help="download a data set")
    parser.add_argument("dataset", choices=data.DOWNLOADS)
    parser.add_argument("--data-dir", default="", help="target folder (default: MINIVIT_DATA or data/)")
    parser.set_defaults(command=lambda args: data.download(args.dataset, args.data_dir, ProgressBar()))


def _bench(args: argparse.Namespace) -> None:
    from minivit.bench import Measurement, measurements, table, write_json
    from minivit.bench.gpu import cuda_device, gpu_kit

    if args.rounds < 1:
        raise ConfigError(f"{args.rounds} rounds is invalid. Choose 1 or more.")
    images = {"dataset": args.dataset, "data_dir": args.data_dir, "classes": tuple(args.classes)}
    parts = {
        "training": measurements.training(images, args.rounds),
        "together": measurements.together(images),
        "load": measurements.under_load(images),
    }
    if "gpu" in args.parts:
        parts["gpu"] = gpu_kit(images, cuda_device())
    results: list[Measurement] = []
    for result in chain.from_iterable(parts[name] for name in BENCH_PARTS if name in args.parts):
        print(f"{result.name}: {result.value:,.4g} {result.unit} {result.note}", flush=True)
        results.append(result)
    print(table(results))
    if args.output:
        write_json(results, args.output)

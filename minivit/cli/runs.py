"""Commands on a finished run: predict, trust, export; and import, which makes a run of an imported model."""

import argparse
import math
from pathlib import Path

from minivit.attention import read_head
from minivit.cli.parser import Commands, add_epoch, add_run_dir, add_runs_dir
from minivit.cli.trust import NUM_IMAGES, trust_report
from minivit.config import TrainConfig
from minivit.errors import ConfigError
from minivit.export import FORMATS, Selection, export
from minivit.imports import NORMALIZATIONS, ImportOptions, import_model
from minivit.inference import Predictions, precision_recall, predict_run
from minivit.runs import Run
from minivit.stats import wilson


def add_commands(commands: Commands) -> None:
    """Adds predict, trust, export and import."""
    parser = commands.add_parser("predict", help="accuracy and confusion matrix of a run on its test images")
    add_run_dir(parser)
    add_epoch(parser)
    parser.set_defaults(command=_predict)

    parser = commands.add_parser("trust", help="faithfulness of a run's maps: localization, deletion and insertion")
    add_run_dir(parser)
    add_epoch(parser)
    parser.add_argument("--images", type=int, default=NUM_IMAGES, help=f"test images (default: {NUM_IMAGES})")
    parser.set_defaults(command=_trust)

    parser = commands.add_parser(
        "export",
        help="the attention of one test image as a file, or the model or the run itself",
        epilog="; ".join(f"{name}: {fmt.description}" for name, fmt in FORMATS.items()),
    )
    add_run_dir(parser)
    parser.add_argument("--what", choices=FORMATS, default="json", help="format (default: the article's JSON)")
    parser.add_argument("--image", type=int, default=0, help="index of the test image (default: 0)")
    add_epoch(parser)
    parser.add_argument("--layer", type=int, default=1, help="layer, from 1")
    parser.add_argument("--head", default="mean", help="head, from 1, or 'mean' or 'max'")
    parser.add_argument("--output", type=Path, help="file to write (default: standard output)")
    parser.set_defaults(command=_export)

    parser = commands.add_parser("import", help="import a timm ViT from a file of weights, with a folder of images")
    parser.add_argument("file", type=Path, metavar="FILE", help="a .safetensors file, or a state dict saved by torch")
    parser.add_argument("--data-dir", required=True, help="folder that contains one folder of images per class")
    parser.add_argument("--heads", type=int, default=0, help="attention heads (default: embedding dimension / 64)")
    parser.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        default="half",
        help="mean and standard deviation that the model was trained with",
    )
    parser.add_argument("--class-names", type=Path, help="text file with one class name per line, as in the head")
    parser.add_argument("--images-per-class", type=int, default=0, help="at most this many of each folder (0: all)")
    add_runs_dir(parser)
    parser.set_defaults(command=_import)


def _predict(args: argparse.Namespace) -> None:
    run = Run.open(args.run_dir)
    print(format_predictions(predict_run(run, args.epoch), run.config))


def format_predictions(predictions: Predictions, config: TrainConfig) -> str:
    """Accuracy with its interval, and the confusion matrix with recall and precision, as text."""
    num_correct, num_images = int(predictions.correct.sum()), len(predictions.labels)
    low, high = wilson(num_correct, num_images)
    lines = [
        f"accuracy {predictions.accuracy:.4f} ({num_correct} of {num_images}; 95% interval {low:.4f} to {high:.4f})",
        "",
        "confusion matrix: rows true, columns predicted",
    ]
    width = max(9, *(len(name) for name in config.classes)) + 1
    precision, recall = precision_recall(predictions.confusion)
    lines.append(" " * width + "".join(f"{name:>{width}}" for name in (*config.classes, "recall")))
    for name, counts, share in zip(config.classes, predictions.confusion, recall, strict=True):
        lines.append(f"{name:>{width}}" + "".join(f"{count:>{width}}" for count in (*counts, _share(share))))
    lines.append(f"{'precision':>{width}}" + "".join(f"{_share(share):>{width}}" for share in precision))
    return "\n".join(lines)


def _share(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.3f}"  # NaN: nothing was predicted, or no image of the class


def _trust(args: argparse.Namespace) -> None:
    print(trust_report(Run.open(args.run_dir), args.epoch, args.images))


def _export(args: argparse.Namespace) -> None:
    run, head = Run.open(args.run_dir), read_head(args.head)
    content = export(run, args.what, Selection(args.epoch, args.image, args.layer - 1, head))
    if not args.output:
        if isinstance(content, bytes):
            raise ConfigError(f"The format {args.what!r} is not text. Name a file to write: --output FILE.")
        print(content)
        return
    try:
        args.output.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise ConfigError(f"{args.output} cannot be written: {error.strerror}. Name another file.") from None


def _import(args: argparse.Namespace) -> None:
    options = ImportOptions(args.heads, args.normalization, args.class_names, args.images_per_class)
    print(import_model(args.file, args.data_dir, options, args.runs_dir).path)

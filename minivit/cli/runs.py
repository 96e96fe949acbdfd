"""Commands on runs: the list of them; predict, trust, export and track for one; import of a model as a run."""

import argparse
import math
import os
import time
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from minivit.attention import read_head
from minivit.background_predictions import is_watched, predict_and_save
from minivit.cli.faithfulness import NUM_IMAGES, faithfulness_report
from minivit.cli.options import EPOCH, RUN_DIR, RUNS_DIR, Commands, ProgressBar
from minivit.config import TrainConfig
from minivit.data import data_warnings, load_split
from minivit.data.decode import image_format, read_picture
from minivit.errors import ConfigError, DataError
from minivit.export import FORMATS, ExportRequest, export
from minivit.export.tracking import MLflow, TensorBoard, Tracker
from minivit.files import explain_os_error
from minivit.imports import (
    GLOBAL_POOLS,
    NORMALIZATIONS,
    ImportOptions,
    assumptions,
    has_class_names,
    import_model,
)
from minivit.inference import Predictions, logits, precision_recall, predict_run
from minivit.layers import ACTIVATIONS
from minivit.runs import Run, find_run, list_runs, search, summarize
from minivit.runs.comparison import to_csv, to_json
from minivit.stats import wilson

MAX_MATRIX = 40  # classes of a printed confusion matrix
MAX_LISTED = 20


def add_commands(commands: Commands) -> None:
    help = "all runs, newest first: state, epoch, test accuracy and folder"
    parser = commands.add_parser("runs", parents=[RUNS_DIR], help=help)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="only these, by the names of their folders")
    parser.add_argument("--search", default="", metavar="QUERY", help="only runs that match, such as 'lr=0.001 #tag'")
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="settings and all metrics of the last epoch, as JSON")
    formats.add_argument("--csv", action="store_true", help="scores and settings, those that differ first, as CSV")
    parser.set_defaults(command=_runs)

    help = "accuracy and confusion matrix of a run on its test images, or its predictions for other images"
    parser = commands.add_parser("predict", parents=[RUN_DIR, EPOCH], help=help)
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="predict these images instead: a line per file with path, class and probability, separated by tabs",
    )
    parser.add_argument("--while-watched", action="store_true", help=argparse.SUPPRESS)  # as pages start it
    parser.set_defaults(command=_predict)

    help = "faithfulness of a run's maps: localization, deletion and insertion"
    parser = commands.add_parser("trust", parents=[RUN_DIR, EPOCH], help=help)
    parser.add_argument("--images", type=int, default=NUM_IMAGES, help=f"test images (default: {NUM_IMAGES})")
    parser.add_argument("--cascade", action="store_true", help="also whether maps change as layers are re-initialized")
    parser.add_argument("--json", action="store_true", help="all results as JSON")
    parser.set_defaults(command=_trust)

    parser = commands.add_parser(
        "export",
        parents=[RUN_DIR, EPOCH],
        help="the attention of one test image as a file, or the model or the run itself",
        epilog="; ".join(f"{name}: {fmt.description}" for name, fmt in FORMATS.items()),
    )
    parser.add_argument("--what", choices=FORMATS, default="json", help="format (default: the article's JSON)")
    parser.add_argument("--image", type=int, default=0, help="index of the test image (default: 0)")
    parser.add_argument("--layer", type=int, default=1, help="layer, from 1")
    parser.add_argument("--head", default="mean", help="head, from 1, or 'mean' or 'max'")
    parser.add_argument("--output", type=Path, help="file, for huggingface a folder (default: standard output)")
    parser.set_defaults(command=_export)

    help = "import a ViT from timm, Hugging Face or torchvision, with a folder of images"
    parser = commands.add_parser("import", parents=[RUNS_DIR], help=help)
    parser.add_argument("file", type=Path, metavar="PATH", help="a weights file, or a directory of save_pretrained")
    parser.add_argument("--data-dir", required=True, help="folder that contains one folder of images per class")
    parser.add_argument("--heads", type=int, help="attention heads (default: from the metadata, else dimension / 64)")
    parser.add_argument("--act", choices=ACTIVATIONS, help="activation (default: from the metadata, else gelu)")
    parser.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        help="mean and std of its training images (default: from the metadata, else its family's)",
    )
    parser.add_argument("--img-size", type=int, metavar="PX", help="side of its images (default: from the metadata)")
    help = "tokens that its head reads, CLS or the mean of the patches (default: from the metadata and weights)"
    parser.add_argument("--global-pool", choices=GLOBAL_POOLS, help=help)
    parser.add_argument("--class-names", type=Path, help="text file with one class name per line, as in the head")
    parser.add_argument("--images-per-class", type=int, default=0, help="at most this many of each folder (0: all)")
    parser.set_defaults(command=_import)

    parser = commands.add_parser("track", parents=[RUN_DIR], help="write a run's metrics for TensorBoard or MLflow")
    parser.add_argument("--tensorboard", metavar="DIR", help="folder for event files, in which the run gets its own")
    parser.add_argument("--mlflow", metavar="URI", help="tracking server, or a store such as sqlite:///FILE")
    parser.add_argument("--follow", action="store_true", help="continue until the training ends")
    parser.set_defaults(command=_track)


def _runs(args: argparse.Namespace) -> None:
    requested_runs = [find_run(name, args.runs_dir) for name in args.runs]
    runs = search(requested_runs or list_runs(args.runs_dir), args.search)
    if args.json or args.csv:
        print(to_json(runs) if args.json else to_csv(runs).rstrip("\n"))
        return
    for run in runs:
        state = run.state
        test_acc = summarize(run).test_acc
        accuracy = "–" if test_acc is None else f"{test_acc:.4f}"
        print(state.phase, run.config.epoch_title(state.epoch), accuracy, run.path, sep="\t")


def _predict(args: argparse.Namespace) -> None:
    run = Run.open(args.run_dir)
    if args.while_watched:
        if hasattr(os, "nice"):  # not on Windows
            os.nice(10)  # runs that train and pages come first
        predict_and_save(run, args.epoch, load_split(run.config)[1], lambda: is_watched(run, args.epoch))
    elif args.images:
        _predict_files(run, args.epoch, args.images)
    else:
        predictions = predict_run(run, args.epoch)
        to_text = format_predictions if has_class_names(run) else format_without_names
        print(to_text(predictions, run.config))


def format_without_names(predictions: Predictions, config: TrainConfig) -> str:
    """The most frequent predictions of a model whose class names are unknown, so that no accuracy can be computed."""
    counts = np.bincount(predictions.predicted, minlength=predictions.num_classes)
    top = counts.argsort(kind="stable")[::-1][:MAX_LISTED]
    return "\n".join(
        [
            "The names of this model's classes are unknown, so no prediction can be compared with a folder's name. "
            "Import it again with --class-names FILE.",
            "",
            f"most frequent predictions for {len(predictions):,} images",
            *(f"{config.classes[index]:>20} {counts[index]:>9,}" for index in top if counts[index]),
        ]
    )


def _predict_files(run: Run, epoch: int | None, paths: list[Path]) -> None:
    """Prints a line per file; DataError at the end for those that cannot be read."""
    model = run.load_model(epoch)
    errors = []
    for path in paths:
        try:
            image = read_picture(path, image_format(run.config))
        except DataError as error:
            errors.append(str(error))
            continue
        probs = logits(model, image).softmax(1)[0]
        print(path, run.config.classes[int(probs.argmax())], f"{probs.max():.4f}", sep="\t")
    if errors:
        raise DataError(" ".join(errors))


def format_predictions(predictions: Predictions, config: TrainConfig) -> str:
    """Accuracy with its interval, and the confusion matrix with recall and precision, as text."""
    num_correct, num_images = int(predictions.correct.sum()), len(predictions.labels)
    low, high = wilson(num_correct, num_images)
    counts = f"{num_correct} of {num_images}; 95% interval {low:.4f} to {high:.4f}"
    lines = [f"accuracy {predictions.accuracy:.4f} ({counts})"]
    if len(config.classes) > MAX_MATRIX:
        return f"{lines[0]}\n\nThe confusion matrix of {len(config.classes):,} classes is too large to print."
    lines += ["", "confusion matrix: rows true, columns predicted"]
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
    print(faithfulness_report(Run.open(args.run_dir), args.epoch, args.images, args.json, args.cascade))


def _export(args: argparse.Namespace) -> None:
    request = ExportRequest(args.epoch, args.image, args.layer - 1, read_head(args.head))
    content = export(Run.open(args.run_dir), args.what, request)
    if not args.output:
        if isinstance(content, bytes):
            raise ConfigError(f"The format {args.what!r} is not text. Pass a file to write: --output FILE.")
        print(content)
        return
    with explain_os_error(ConfigError, f"{args.output} cannot be written", "Choose another file."):
        if isinstance(content, bytes) and FORMATS[args.what].is_folder and args.output.suffix != ".zip":
            args.output.mkdir(parents=True, exist_ok=True)
            with ZipFile(BytesIO(content)) as archive:
                archive.extractall(args.output)
        else:
            args.output.write_bytes(content if isinstance(content, bytes) else content.encode())


def _import(args: argparse.Namespace) -> None:
    options = ImportOptions(
        args.heads,
        args.normalization,
        args.class_names,
        args.images_per_class,
        args.act,
        args.img_size,
        args.global_pool,
    )
    with closing(ProgressBar()) as bar:
        run = import_model(args.file, args.data_dir, options, args.runs_dir, bar)
    for line in (*assumptions(run), *data_warnings(run.config, *load_split(run.config))):
        print(line)
    print(run.path)


POLL_SECONDS = 2


def _track(args: argparse.Namespace) -> None:
    if not (args.tensorboard or args.mlflow):
        raise ConfigError("There is nowhere to write the metrics. Pass --tensorboard DIR or --mlflow URI.")
    run = Run.open(args.run_dir)
    with ExitStack() as stack:
        trackers: list[Tracker] = []
        if args.tensorboard:
            trackers.append(stack.enter_context(closing(TensorBoard(run, args.tensorboard))))
        if args.mlflow:
            trackers.append(stack.enter_context(closing(MLflow(run, args.mlflow))))
        while True:
            is_active = run.state.active  # before the rows, so that the last ones are not missed
            rows = run.metrics()
            for tracker in trackers:
                if num_new := tracker.log(rows):
                    print(f"{type(tracker).__name__}: {num_new} new epochs", flush=True)
            if not (args.follow and is_active):
                return
            time.sleep(POLL_SECONDS)

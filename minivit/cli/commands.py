"""The same without a browser: `python -m minivit COMMAND`, from `train` to `download`.

`create` makes the folder of a run for torchrun to train it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

from tqdm import tqdm

from minivit import data
from minivit.attention import read_head
from minivit.attention.localization import NUM_IMAGES, report
from minivit.config import ARTICLE_CLASSES, PRESETS, Dataset, Setting, TrainConfig, preset, settings
from minivit.engine import train
from minivit.errors import ConfigError, MiniViTError, SweepError
from minivit.export import FORMATS, Selection, export
from minivit.imports import NORMALIZATIONS, ImportOptions, import_model
from minivit.inference import Predictions, precision_recall, predict_run
from minivit.machine import pick_device
from minivit.runs import Run
from minivit.stats import wilson
from minivit.sweep import (
    Sweep,
    SweepConfig,
    Vary,
    as_completed,
    find_sweep,
    format_params,
    list_sweeps,
    start_workers,
    sweep_settings,
)  # fmt: skip
from minivit.worker import launch


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when it went well, 2 with a sentence for what a person can mend, 141 for a closed pipe."""
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; the interpreter would flush once more at its end, and fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as if SIGPIPE had ended it


def _run(arguments: Sequence[str] | None) -> int:
    chosen = make_parser().parse_args(arguments)
    try:
        return chosen.command(chosen) or 0
    except MiniViTError as error:
        print(f"minivit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept; `python -m minivit resume RUN_DIR` goes on.", file=sys.stderr)
        return 130


def make_parser() -> argparse.ArgumentParser:
    """The command line; the options of `train` are the settings of `TrainConfig`."""
    parser = Parser(prog="python -m minivit", description="Train a small ViT and see what it attends to.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for name, command, help in (
        ("train", _train, "train a model in the foreground"),
        ("create", _create, "make the folder of a run, for torchrun to train it"),
    ):
        one = commands.add_parser(name, help=help)
        one.add_argument("--preset", choices=PRESETS, default="article", help="settings to start from")
        one.add_argument("--runs-dir", type=Path, help="folder for runs (default: MINIVIT_RUNS or runs/)")
        for setting in settings():
            _add_option(one, setting)
        one.set_defaults(command=command)

    one = commands.add_parser("sweep", help="train many models, as a grid or a search over the settings")
    one.add_argument("--preset", choices=PRESETS, default="article", help="settings to start from")
    one.add_argument(
        "--vary", action="append", default=[], metavar="NAME=VALUES",
        help="a setting to vary: depth=1,2,4 or lr=1e-4..1e-2, with :log after it for a logarithmic scale",
    )  # fmt: skip
    one.add_argument("--name", default="", help="name of the study; one that exists is gone on with, or joined")
    one.add_argument(
        "--storage", default="", metavar="URL",
        help="where machines share the study: journal:///FOLDER/FILE on a shared disk, or a database's URL",
    )  # fmt: skip
    one.add_argument("--retry", action="store_true", help="try failed trials of the study again")
    one.add_argument("--runs-dir", type=Path, help="folder for runs (default: MINIVIT_RUNS or runs/)")
    for setting in (*sweep_settings(), *settings()):
        _add_option(one, setting)
    one.set_defaults(command=_sweep)

    one = commands.add_parser("resume", help="go on with a run that was paused, stopped or killed")
    one.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    one.add_argument("--devices", type=int, metavar="INT", help="processes that train together (default: as before)")
    one.set_defaults(command=_resume)

    one = commands.add_parser("predict", help="accuracy and confusion matrix of a run on its test images")
    one.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    one.add_argument("--epoch", type=int, help="a saved epoch (default: the newest)")
    one.set_defaults(command=_predict)

    one = commands.add_parser("trust", help="what the maps of a run are worth: known answers, deletion and insertion")
    one.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    one.add_argument("--epoch", type=int, help="a saved epoch (default: the newest)")
    one.add_argument("--images", type=int, default=NUM_IMAGES, help=f"test images (default: {NUM_IMAGES})")
    one.set_defaults(command=_trust)

    one = commands.add_parser(
        "export", help="the attention of one test image as a file, or the model or the run itself",
        epilog="; ".join(f"{name}: {fmt.description}" for name, fmt in FORMATS.items()),
    )  # fmt: skip
    one.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    one.add_argument("--what", choices=FORMATS, default="json", help="kind of file (default: the article's JSON)")
    one.add_argument("--image", type=int, default=0, help="number of the test image (default: 0)")
    one.add_argument("--epoch", type=int, help="a saved epoch (default: the newest)")
    one.add_argument("--layer", type=int, default=1, help="layer, from 1")
    one.add_argument("--head", default="mean", help="head, from 1, or 'mean' or 'max'")
    one.add_argument("--output", type=Path, help="file to write (default: standard output)")
    one.set_defaults(command=_export)

    one = commands.add_parser("import", help="open a ViT of timm's from a file of weights, on the images of a folder")
    one.add_argument("file", type=Path, metavar="FILE", help="a .safetensors file, or a state dict that torch saved")
    one.add_argument("--data-dir", required=True, help="folder with a folder of images per class")
    one.add_argument("--heads", type=int, default=0, help="attention heads (default: the embed dim over 64)")
    one.add_argument(
        "--normalization", choices=NORMALIZATIONS, default="half", help="mean and deviation it was trained with"
    )
    one.add_argument("--class-names", type=Path, help="text file with a name per line for the head's classes")
    one.add_argument("--images-per-class", type=int, default=0, help="at most this many of each folder (0: all)")
    one.add_argument("--runs-dir", type=Path, help="folder for runs (default: MINIVIT_RUNS or runs/)")
    one.set_defaults(command=_import)

    one = commands.add_parser("bench", help="what this machine gives, beside the notebook's operations")
    one.add_argument("--dataset", choices=get_args(Dataset), default="cifar10", help="data set (default: cifar10)")
    one.add_argument("--data-dir", default="", help="folder that holds the images")
    one.add_argument("--classes", nargs="+", metavar="NAME", default=ARTICLE_CLASSES, help="default: the article's")
    one.add_argument("--rounds", type=int, default=3, help="epochs of each way, in turns (default: 3)")
    parts = ("training", "together", "dashboard")
    one.add_argument("--parts", nargs="+", choices=parts, default=parts, help="what to measure (default: all)")
    one.add_argument("--output", type=Path, help="JSON file to write the figures to")
    one.set_defaults(command=_bench)

    one = commands.add_parser("download", help="download a data set")
    one.add_argument("dataset", choices=data.DOWNLOADS)
    one.add_argument("--data-dir", default="", help="where to (default: MINIVIT_DATA or data/)")
    one.set_defaults(command=lambda chosen: data.download(chosen.dataset, chosen.data_dir, ProgressBar()))
    return parser


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the list of all options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"minivit: {message[:1].upper()}{message[1:]}. See {self.prog} --help.\n")


class ProgressBar:
    """A `Progress` on the terminal: one bar for each thing that goes on. Into a file or a pipe nothing is drawn."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if self.bar is None or self.what != what:
            self.close()
            self.what = what
            self.bar = tqdm(desc=what, total=total, leave=False, dynamic_ncols=True, unit_scale=True, disable=None)
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Takes the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _add_option(parser: argparse.ArgumentParser, setting: Setting) -> None:
    flag = "--" + setting.name.replace("_", "-")
    help = setting.help.replace("%", "%%") + (f" [{setting.unit}]" if setting.unit else "")
    options: dict[str, Any] = {"dest": setting.name, "default": argparse.SUPPRESS, "help": help}
    if setting.kind is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif setting.kind is tuple:
        parser.add_argument(flag, nargs="+", metavar="NAME", **options)
    elif setting.choices:
        parser.add_argument(flag, choices=setting.choices, type=setting.kind, **options)
    else:
        parser.add_argument(flag, type=setting.kind, metavar=setting.kind.__name__.upper(), **options)


def _train(chosen: argparse.Namespace) -> int:
    return _run_to_its_end(_new_run(chosen))


def _create(chosen: argparse.Namespace) -> None:
    run = _new_run(chosen)
    run.set_state("stopped", message="Made, and not begun. Resume starts it.")
    print(run.path)


def _new_run(chosen: argparse.Namespace) -> Run:
    named = {setting.name: vars(chosen)[setting.name] for setting in settings() if setting.name in vars(chosen)}
    config = preset(chosen.preset).changed(**named)
    if "classes" not in named:
        config = data.select_classes(config)
    data.check(config)
    pick_device(config.device, needed=config.devices)
    return Run.create(config, chosen.runs_dir)


def _sweep(chosen: argparse.Namespace) -> None:
    sweep = _chosen_sweep(chosen)
    if chosen.retry:
        print(f"{sweep.retry()} failed trials wait again", flush=True)
    start_workers(sweep)
    try:
        for tried in as_completed(sweep):
            end = tried.message if tried.accuracy is None else f"test accuracy {tried.accuracy:.4f} {tried.message}"
            print(f"trial {tried.number} {tried.phase}: {format_params(tried.params)}: {end}".rstrip(), flush=True)
    except KeyboardInterrupt:
        sweep.request("stop")
        print(f"\nStopping. `python -m minivit sweep --name {sweep.id}` goes on.", file=sys.stderr)
        raise SystemExit(130) from None
    if sweep.problem:
        raise SweepError(sweep.problem)
    best = sweep.best()
    if best is None:
        raise SweepError(f"No trial came to its end. {sweep.path / 'log.txt'} says why.")
    print(f"best: trial {best.number}, test accuracy {best.accuracy:.4f}, {format_params(best.params)}")
    print(sweep.runs_dir / best.run_id if best.is_local else sweep.path)


def _chosen_sweep(chosen: argparse.Namespace) -> Sweep:
    """A new sweep where something is to be varied, else the one of that name, here or at the storage."""
    own = {setting.name: vars(chosen)[setting.name] for setting in sweep_settings() if setting.name in vars(chosen)}
    named = {setting.name: vars(chosen)[setting.name] for setting in settings() if setting.name in vars(chosen)}
    if chosen.vary:
        base = preset(chosen.preset).changed(**named)
        base = base if "classes" in named else data.select_classes(base)
        data.check(base)
        config = SweepConfig(base=base, vary=tuple(Vary.parse(text) for text in chosen.vary), **own)
        return Sweep.create(config, chosen.runs_dir, chosen.name, chosen.storage)
    if not chosen.name:
        raise ConfigError("Say what to vary, as in --vary lr=1e-4..1e-2:log, or name a sweep to go on with.")
    joins = chosen.storage and chosen.name not in {sweep.id for sweep in list_sweeps(chosen.runs_dir)}
    kept = sorted({*named, *own} - ({"data_dir", "device", "threads", "workers"} if joins else set()))
    if kept:
        raise ConfigError(f"A sweep keeps its settings. Leave out {', '.join(kept)}, or say what a new one varies.")
    if joins:
        return Sweep.join(chosen.name, chosen.storage, chosen.runs_dir, **named, **own)
    return find_sweep(chosen.name, chosen.runs_dir)


def _resume(chosen: argparse.Namespace) -> int:
    run = Run.open(chosen.run_dir)
    if chosen.devices is not None:
        run.config = run.config.changed(devices=chosen.devices)
    return _run_to_its_end(run)


def _run_to_its_end(run: Run) -> int:
    if run.config.devices > 1:
        try:
            return launch(run)
        finally:
            print(run.path)
    bar = ProgressBar()

    def say(line: str) -> None:
        bar.close()
        print(line, flush=True)

    try:
        train(run.config, run, bar, say)
    finally:
        bar.close()
        print(run.path)
    return 0


def _predict(chosen: argparse.Namespace) -> None:
    run = Run.open(chosen.run_dir)
    print(_report(predict_run(run, chosen.epoch), run.config))


def _report(predictions: Predictions, config: TrainConfig) -> str:
    """Accuracy with its interval, and the confusion matrix with recall and precision, as text."""
    num_right, num_images = int(predictions.correct.sum()), len(predictions.labels)
    low, high = wilson(num_right, num_images)
    lines = [
        f"accuracy {predictions.accuracy:.4f} ({num_right} of {num_images}; 95 % interval {low:.4f} to {high:.4f})",
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
    return "–" if share != share else f"{share:.3f}"  # where nothing was predicted, or nothing true


def _bench(chosen: argparse.Namespace) -> None:
    from minivit.bench import Figure, table, together, training, write_json

    figures: list[Figure] = []
    images = chosen.dataset, chosen.data_dir, tuple(chosen.classes)
    if "training" in chosen.parts:
        if chosen.rounds < 1:
            raise ConfigError(f"{chosen.rounds} rounds cannot be. Choose 1 or more.")
        figures += training.measure(*images, chosen.rounds, print)
    if "together" in chosen.parts:
        figures += together.measure(*images, print)
    print(table(figures))
    if chosen.output:
        write_json(figures, chosen.output)


def _trust(chosen: argparse.Namespace) -> None:
    print(report(Run.open(chosen.run_dir), chosen.epoch, chosen.images))


def _export(chosen: argparse.Namespace) -> None:
    run, head = Run.open(chosen.run_dir), read_head(chosen.head)
    selection = Selection(chosen.epoch, chosen.image, chosen.layer - 1, head)
    content = export(run, chosen.what, selection)
    if not chosen.output:
        if isinstance(content, bytes):
            raise ConfigError(f"The format {chosen.what!r} is not text. Name a file to write: --output FILE.")
        print(content)
        return
    try:
        chosen.output.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise ConfigError(f"{chosen.output} cannot be written: {error.strerror}. Name another file.") from None


def _import(chosen: argparse.Namespace) -> None:
    options = ImportOptions(chosen.heads, chosen.normalization, chosen.class_names, chosen.images_per_class)
    print(import_model(chosen.file, chosen.data_dir, options, chosen.runs_dir).path)

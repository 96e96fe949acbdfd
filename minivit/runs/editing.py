"""What the user changes in an existing run: tags, a note, favorite or not; more epochs, another learning rate."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from minivit.config import validate
from minivit.errors import ConfigError, RunError
from minivit.runs import schema
from minivit.runs.files import read_cached, replace_file
from minivit.runs.run import Run
from minivit.runs.schema import Annotations


def read_annotations(run: Run) -> Annotations:
    """A run's annotations, without those that are invalid in the file."""
    return run.read("annotations.json", schema.parse_annotations, Annotations())


def annotate(run: Run, **changes: Any) -> None:
    """Replaces `tags`, `note` or `favorite` of a run.

    RunError for the example run, if they cannot be written, and if what the file has now cannot be read.
    """
    run.require_own()
    if "annotations.json" in unreadable_files(run):
        path = run.path / "annotations.json"
        raise RunError(f"{path} has invalid content, which would be lost. Correct it or delete it.")
    if "tags" in changes:
        changes["tags"] = clean_tags(changes["tags"])
    if "note" in changes:
        changes["note"] = changes["note"].strip()[: schema.MAX_NOTE_LENGTH]
    before = read_annotations(run)
    after = replace(before, **changes)
    if after != before:
        replace_file(run.path / "annotations.json", asdict(after))


def unreadable_files(run: Run) -> list[str]:
    """The files of a run with invalid content, of those that it need not have."""

    def is_readable(name: str) -> bool:
        try:
            return read_cached(run.path / name, schema.OPTIONAL_FILES[name]) is not None
        except OSError as error:
            return isinstance(error, FileNotFoundError)

    return [name for name in schema.OPTIONAL_FILES if not is_readable(name)]


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as they are stored: without "#", with hyphens for spaces, each once, at most `MAX_TAGS`."""
    printable = ("".join(character if character.isprintable() else " " for character in tag) for tag in tags)
    hyphenated = ("-".join(tag.replace("#", " ").split())[: schema.MAX_TAG_LENGTH] for tag in printable)
    return tuple(dict.fromkeys(tag for tag in hyphenated if tag))[: schema.MAX_TAGS]


LR_FILE = "lr.txt"  # the requested learning rate, until a worker adopts it


def extend(run: Run, epochs: int) -> None:
    """Sets a larger number of epochs, so that training can be resumed; the schedule then spans all of them.

    A target accuracy and a patience, which may have ended the run, are removed. RunError while a worker is training the
    run, for an imported model and for one with a time limit, ConfigError if the number is not larger.
    """
    _require_trainable(run)
    if run.state.active or run.is_worker_alive():
        raise RunError(f"A worker is training the run {run.id}. Stop it before you change its number of epochs.")
    if epochs <= run.config.epochs:
        raise ConfigError(f"The run {run.id} already has {run.config.epochs} epochs. Choose a larger number.")
    run.set_config(run.config.changed(epochs=epochs, target_acc=0.0, patience=0))


def request_learning_rate(run: Run, lr: float) -> None:
    """Requests another learning rate from the next epoch on, of the running worker or of the next one.

    ConfigError if it is out of bounds; RunError for an imported model and for a run with a time limit.
    """
    _require_trainable(run)
    replace_file(run.path / LR_FILE, repr(validate("lr", lr)).encode())


def requested_learning_rate(run: Run) -> float | None:
    """The learning rate that is requested from the next epoch on, None if none is."""
    try:
        return validate("lr", read_cached(run.path / LR_FILE, schema.parse_line))
    except (OSError, ConfigError):
        return None


def adopt_learning_rate(run: Run, epoch: int) -> bool:
    """Writes the requested learning rate into the settings as that after `epoch`; False if none is requested.

    The worker alone calls this, between two epochs, so that the settings say what it did.
    """
    path = run.path / LR_FILE
    if not path.exists():
        return False
    lr = requested_learning_rate(run)
    if lr is None:
        with suppress(OSError):
            path.unlink()  # somebody wrote it by hand
        return False
    stored = Run.open(run.path)  # `run.config` may have been changed for this session alone
    stored.set_config(stored.config.changed(lr_changes=(*stored.config.lr_changes, (epoch, lr))))
    path.unlink()
    return True


def _require_trainable(run: Run) -> None:
    """RunError for a run that cannot be trained on, or is limited by time."""
    run.require_own()
    if run.config.imported:
        raise RunError(f"{run.id} is an imported model, which can be analyzed but not trained.")
    if run.config.minutes:
        raise RunError(
            f"The run {run.id} trains for {run.config.minutes:g} minutes, not for a number of epochs. Start a "
            "new run with its settings."
        )

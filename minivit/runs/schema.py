"""Schemas of the files in a run folder. Invalid content is dropped on reading."""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic reads typing's from Python 3.12 on

from minivit.config import SCHEMA_VERSION, TrainConfig

Phase = Literal["queued", "loading", "training", "paused", "stopped", "failed", "done"]
Command = Literal["pause", "resume", "stop"]

FINISHED = "Finished."  # the message of a run that reached its last epoch

MAX_EPOCHS = 1_000_000
MAX_NAME_LENGTH = 80
MAX_TAGS = 20
MAX_TAG_LENGTH = 40
MAX_NOTE_LENGTH = 10_000
Epoch = Annotated[int, Field(ge=0, le=MAX_EPOCHS)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


@with_config(ConfigDict(extra="ignore", strict=True))
class MetricsRow(TypedDict):
    """A row of `metrics.jsonl`; epoch 0, before training, has no training metrics."""

    epoch: Epoch
    train_loss: Amount | None
    train_acc: Fraction | None
    test_loss: Amount
    test_acc: Fraction
    lr: Amount
    train_seconds: Amount | None
    eval_seconds: Amount
    images_per_second: Amount | None


@dataclass(frozen=True)
class State:
    """The content of `state.json`. `epoch` is the last complete one; `progress` is 0..1 within the current phase."""

    phase: Phase
    epoch: Epoch = 0
    message: Annotated[str, Field(max_length=10_000)] = ""
    progress: Fraction = 0.0
    updated: Amount = 0.0  # seconds since 1970

    @property
    def active(self) -> bool:
        """Whether a worker is training the run or about to start."""
        return self.phase in ("queued", "loading", "training")


@dataclass(frozen=True)
class Position:
    """The metadata of `resume.safetensors`: complete epochs, steps of the next one, and the seconds that these took."""

    epoch: Epoch
    step: Count
    seconds: Amount
    clock: Amount = 0.0  # of the run's time limit, unknown to earlier versions


Tag = Annotated[str, Field(pattern=r"^[^\s#]+$", max_length=MAX_TAG_LENGTH)]


@dataclass(frozen=True)
class Annotations:
    """The content of `annotations.json`."""

    tags: Annotated[tuple[Tag, ...], Field(max_length=MAX_TAGS)] = ()
    note: Annotated[str, Field(max_length=MAX_NOTE_LENGTH)] = ""
    favorite: bool = False


@with_config(ConfigDict(extra="allow"))
class Environment(TypedDict):
    """The part of `environment.json` that is read; the rest is shown as it is."""

    device: NotRequired[str]
    threads: NotRequired[Count]
    num_train: NotRequired[Count]
    num_test: NotRequired[Count]
    num_majority: NotRequired[Count]  # test images of the most frequent class
    data_fingerprint: NotRequired[str]
    assumed: NotRequired[list[str]]
    head_classes: NotRequired[Annotated[Count, Field(ge=1)]]


@with_config(ConfigDict(extra="allow"))
class Control(TypedDict):
    """The content of `control.json`."""

    command: Command


def _parser(kind: Any) -> Callable[[bytes], Any]:
    """A function that reads JSON as `kind`; it returns None for invalid content."""
    adapter = TypeAdapter(kind)

    def parse(content: bytes) -> Any:
        try:
            return adapter.validate_json(content)
        except ValidationError:
            return None

    return parse


parse_state = _parser(State)
parse_environment = _parser(Environment)
_parse_metrics = _parser(MetricsRow)
parse_control = _parser(Control)
# Of the files that a run may have; each returns None for invalid content
OPTIONAL_FILES: dict[str, Callable[[bytes], Any]] = {
    "environment.json": parse_environment,
    "annotations.json": _parser(Annotations),
    "control.json": parse_control,
}
_ANNOTATIONS = TypeAdapter(Annotations)
_CHECKSUM = re.compile(rb', "crc32": (\d{1,10})}\s*$')


def write_row(row: Mapping[str, Any]) -> str:
    """A line of `metrics.jsonl`: the row as JSON with the checksum of that JSON as its last field."""
    text = json.dumps(row)
    return f'{text[:-1]}, "crc32": {zlib.crc32(text.encode())}}}'


def parse_row(line: bytes) -> Any:
    """The row; None if it is invalid or has changed. Rows without a checksum, as of earlier versions, are accepted."""
    checksum = _CHECKSUM.search(line)
    if checksum and zlib.crc32(line[: checksum.start()] + b"}") != int(checksum[1]):
        return None
    return _parse_metrics(line)


def parse_annotations(content: bytes) -> Annotations:
    """The valid fields of annotations."""
    try:
        return _ANNOTATIONS.validate_json(content)
    except ValidationError as error:
        invalid = {field for part in error.errors() for field in part["loc"][:1]}
        stored = json.loads(content) if invalid else {}
        return _ANNOTATIONS.validate_python({name: value for name, value in stored.items() if name not in invalid})


def parse_position(metadata: Mapping[str, str]) -> Position:
    """The position in a run; raises ValueError if it is invalid."""
    return TypeAdapter(Position).validate_strings(dict(metadata))


def parse_config(data: bytes) -> tuple[Any, TrainConfig | None]:
    """The schema version of a `config.json`, and its settings if the version is ours."""
    stored = json.loads(data)
    version = stored.pop("schema_version", None) if isinstance(stored, dict) else None
    return version, TrainConfig.model_validate(with_earlier_settings(stored)) if version == SCHEMA_VERSION else None


def with_earlier_settings(stored: Any) -> Any:
    """Stored settings of a training with those that earlier versions did not have, as they were then."""
    if not isinstance(stored, dict):
        return stored
    earlier: dict[str, Any] = {"stratify": False}  # folders were split as the article does
    if stored.get("dataset") == "shapes":
        earlier["drawing"] = 1
    return earlier | stored


def parse_line(data: bytes) -> str:
    """The printable text of a small file, such as a name."""
    text = data.decode(errors="replace")[: 4 * MAX_NAME_LENGTH]
    return "".join(character for character in text if character.isprintable())[:MAX_NAME_LENGTH].strip()

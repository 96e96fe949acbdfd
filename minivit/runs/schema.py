"""Schemas of the files in a run folder. Invalid content is dropped on reading."""

import json
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
MAX_TAGS, MAX_TAG_LENGTH, MAX_NOTE_LENGTH = 20, 40, 10_000
Epoch = Annotated[int, Field(ge=0, le=MAX_EPOCHS)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


@with_config(ConfigDict(extra="ignore", strict=True))
class MetricsRow(TypedDict):
    """A row of `metrics.jsonl`; epoch 0, the untrained model, has no training metrics."""

    epoch: Epoch
    train_loss: Amount | None
    train_acc: Share | None
    test_loss: Amount
    test_acc: Share
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
    progress: Share = 0.0
    updated: Amount = 0.0  # seconds since 1970

    @property
    def active(self) -> bool:
        """Whether a worker is training the run or about to start."""
        return self.phase in ("queued", "loading", "training")


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
    threads: NotRequired[int]
    num_train: NotRequired[int]
    num_test: NotRequired[int]
    data_fingerprint: NotRequired[str]
    assumed: NotRequired[list[str]]
    head_classes: NotRequired[int]


_ROW, _STATE, _ENVIRONMENT = TypeAdapter(MetricsRow), TypeAdapter(State), TypeAdapter(Environment)
_ANNOTATIONS = TypeAdapter(Annotations)


def parse_row(line: bytes) -> dict[str, Any] | None:
    """The row in a line of `metrics.jsonl`; None if it is invalid."""
    try:
        return dict(_ROW.validate_json(line))
    except ValidationError:
        return None


def parse_state(content: bytes) -> State | None:
    """The state in `state.json`; None if it is invalid."""
    try:
        return _STATE.validate_json(content)
    except ValidationError:
        return None


def parse_annotations(content: bytes) -> Annotations:
    """The annotations in `annotations.json`; none if they are invalid."""
    try:
        return _ANNOTATIONS.validate_json(content)
    except ValidationError:
        return Annotations()


def parse_environment(content: bytes) -> dict[str, Any] | None:
    """The facts in `environment.json`; None if they are invalid."""
    try:
        return dict(_ENVIRONMENT.validate_json(content))
    except ValidationError:
        return None


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

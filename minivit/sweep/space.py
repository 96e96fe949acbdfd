"""What a sweep varies: settings with a list of values or a range, as a person writes them and as Optuna draws them."""

import itertools
import math
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from minivit.config import Setting, Settings, TrainConfig, describe, fit_setting, setting, settings
from minivit.errors import ConfigError

if TYPE_CHECKING:
    import optuna

MAX_TRIALS = 1000
FIXED = ("dataset", "data_dir", "classes", "split", "device", "threads")  # else accuracies could not be compared


def variable() -> dict[str, Setting]:
    """The settings that a sweep may vary, by name."""
    return {one.name: one for one in settings() if one.name not in FIXED}


class Vary(Settings):
    """One setting that differs between trials: `values` to choose from, or a range from `low` to `high`."""

    name: str
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in variable():
            why = "is the same in all trials" if name in FIXED else "is not a setting"
            raise ConfigError(f"{name!r} {why}, so it cannot be varied. Choose among {', '.join(variable())}.")
        return name

    @field_validator("values")
    @classmethod
    def _fitting(cls, values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        fitted = tuple(fit_setting(info.data["name"], value) for value in values)
        if len(set(fitted)) < len(fitted):
            raise ConfigError(f"A value of {info.data['name']} is named twice in {', '.join(map(str, values))}.")
        return fitted

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.values) == (self.low is not None or self.high is not None):
            raise ConfigError(f"Vary {self.name} either by values or by a range with a low and a high end.")
        if not self.values:
            self._check_range()
        return self

    def _check_range(self) -> None:
        if self.kind not in (int, float):
            raise ConfigError(f"{self.name} has no range. List its values, as in {self.name}={self.examples}.")
        if self.low is None or self.high is None or self.low >= self.high:
            raise ConfigError(f"The range of {self.name}, {self.text}, needs a low end below its high end.")
        if self.log and self.low <= 0:
            raise ConfigError(f"A logarithmic range starts above 0, and that of {self.name} at {self.low:g}.")
        for end in (self.low, self.high):
            fit_setting(self.name, end)

    @property
    def kind(self) -> Any:
        """int, float, bool or str."""
        return variable()[self.name].kind

    @property
    def examples(self) -> str:
        """Values that the setting can have, as a person would type them."""
        return ",".join(str(choice) for choice in variable()[self.name].choices or ("true", "false"))

    @property
    def text(self) -> str:
        """As a person writes it: `lr=0.0001..0.01:log` or `depth=1,2,4`, without the name."""
        if self.values:
            return ",".join(str(value) for value in self.values)
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `NAME=V1,V2,…` or `NAME=LOW..HIGH`, with `:log` at its end for a logarithmic scale."""
        name, _, said = text.partition("=")
        said, _, scale = said.partition(":")
        low, dots, high = said.partition("..")
        if not name or not said or scale not in ("", "log") or (scale and not dots):
            raise ConfigError(
                f"{text!r} does not say what to vary. Write NAME=1,2,4 for values or NAME=LOW..HIGH for a range, with "
                ":log after it for a logarithmic scale."
            )
        if dots:
            ends = {"low": low, "high": high, "log": bool(scale)}
            return cls.model_validate({"name": name.replace("-", "_"), **ends})
        return cls.model_validate({"name": name.replace("-", "_"), "values": tuple(said.split(","))})

    def suggest(self, trial: "optuna.Trial") -> Any:
        """The value for one trial, by its study's sampler or as it was put in the queue."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        assert self.low is not None and self.high is not None
        if self.kind is int:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


class SweepConfig(Settings):
    """Everything that decides a sweep: settings to start from, what varies, and how trials are chosen."""

    base: TrainConfig = Field(default_factory=TrainConfig)
    vary: tuple[Vary, ...]
    sampler: Literal["tpe", "random", "grid"] = setting(
        "tpe", "Trials by",
        "tpe learns from earlier trials where good values lie, random draws evenly, grid tries every combination once.",
        group="sweep",
    )  # fmt: skip
    trials: int = setting(
        20, "Trials", "Models to train; a grid trains one for each combination.", group="sweep", ge=1, le=MAX_TRIALS
    )
    pruning: bool = setting(
        True, "Prune", "Ends a trial whose best accuracy so far is below the median of earlier trials at that epoch.",
        group="sweep",
    )  # fmt: skip
    workers: int = setting(
        0, "Workers", "Processes that train side by side on this machine; 0 is one a core, or one a GPU.",
        group="sweep", ge=0, le=256,
    )  # fmt: skip

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [one.name for one in self.vary]
        if not names:
            raise ConfigError("A sweep varies at least one setting. Name it with its values or its range.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"{twice[0]} is varied twice. Name all its values at once.")
        if self.sampler == "grid":
            ranges = [one for one in self.vary if not one.values]
            if ranges:
                raise ConfigError(
                    f"A grid needs values, and {ranges[0].name} has a range, {ranges[0].text}. List values, or let "
                    "trials be chosen by 'tpe' or 'random'."
                )
            if self.num_trials > MAX_TRIALS:
                raise ConfigError(f"The grid has {self.num_trials:,} combinations; at most {MAX_TRIALS:,} are tried.")
        return self

    @property
    def num_trials(self) -> int:
        """Models to train."""
        return math.prod(len(one.values) for one in self.vary) if self.sampler == "grid" else self.trials

    def queue(self) -> list[dict[str, Any]]:
        """For each trial what is already settled of it: everything in a grid, nothing in a search."""
        if self.sampler != "grid":
            return [{} for _ in range(self.trials)]
        combined = itertools.product(*(one.values for one in self.vary))
        return [dict(zip((one.name for one in self.vary), values, strict=True)) for values in combined]


def sweep_settings() -> list[Setting]:
    """The settings of the sweep itself, for a form or a parser."""
    fields = SweepConfig.model_fields
    return [describe(name, fields[name]) for name in ("sampler", "trials", "pruning", "workers")]

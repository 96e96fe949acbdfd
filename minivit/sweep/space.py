"""What a sweep varies: settings with a list of values or a range, as text for users and as distributions for Optuna."""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from minivit.config import Setting, Settings, TrainConfig, describe, setting, settings, validate
from minivit.errors import ConfigError

if TYPE_CHECKING:
    import optuna

MAX_TRIALS = 1000
# The same in all trials, so that they are comparable: they determine the test images and the machine
FIXED = ("dataset", "data_dir", "classes", "images_per_class", "split", "stratify", "device", "threads", "init_from")


def variable_settings() -> dict[str, Setting]:
    """The settings that a sweep may vary, by name."""
    return {setting.name: setting for setting in settings() if setting.name not in FIXED}


def example_values(setting: Setting, value: Any) -> list[Any]:
    """All choices of a setting, or three values around its present one."""
    if setting.kind is bool:
        return ["true", "false"]
    if setting.choices:
        return list(setting.choices)
    if setting.kind is int:
        first = value // 2 if value // 2 >= (setting.minimum or 0) else value
        numbers: tuple[float, ...] = (first, 2 * first, 4 * first)
    else:
        numbers = (round(value / 3, 5), value, round(3 * value, 5))
    low, high = setting.minimum if setting.minimum is not None else 1e-6, setting.maximum or 0
    return sorted({number for number in numbers if low <= number <= high})


class Vary(Settings):
    """One setting that differs between trials: `values` to choose from, or a range from `low` to `high`."""

    name: str
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False

    @field_validator("name")
    @classmethod
    def _is_variable(cls, name: str) -> str:
        if name not in variable_settings():
            reason = "is the same in all trials" if name in FIXED else "is not a setting"
            names = ", ".join(variable_settings())
            raise ConfigError(f"{name!r} {reason}, so it cannot be varied. Choose among {names}.")
        return name

    @field_validator("values")
    @classmethod
    def _validate_values(cls, values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        valid = tuple(validate(info.data["name"], value) for value in values)
        if len(set(valid)) < len(valid):
            raise ConfigError(f"A value of {info.data['name']} is listed twice in {', '.join(map(str, values))}.")
        return valid

    @model_validator(mode="after")
    def _validate(self) -> Self:
        if bool(self.values) == (self.low is not None or self.high is not None):
            raise ConfigError(f"Specify {self.name} as a list of values or as a range with a low and a high end.")
        if not self.values:
            self._check_range()
        return self

    def _check_range(self) -> None:
        if self.kind not in (int, float):
            examples = ",".join(map(str, variable_settings()[self.name].choices or ("true", "false")))
            raise ConfigError(f"{self.name} cannot have a range. List its values, as in {self.name}={examples}.")
        if self.low is None or self.high is None or self.low >= self.high:
            raise ConfigError(f"The range of {self.name}, {self.text}, needs a low end below its high end.")
        if self.log and self.low <= 0:
            raise ConfigError(f"The logarithmic range of {self.name} starts at {self.low:g}. Start it above 0.")
        for end in (self.low, self.high):
            validate(self.name, end)

    @property
    def kind(self) -> Any:
        """int, float, bool or str."""
        return variable_settings()[self.name].kind

    @property
    def text(self) -> str:
        """The values or the range as a user would type them: `1,2,4` or `0.0001..0.01:log`."""
        if self.values:
            return ",".join(str(value) for value in self.values)
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `NAME=V1,V2,…` or `NAME=LOW..HIGH`, with `:log` at its end for a logarithmic scale."""
        name, _, values = text.partition("=")
        values, _, scale = values.partition(":")
        low, dots, high = values.partition("..")
        if not name or not values or scale not in ("", "log") or (scale and not dots):
            raise ConfigError(
                f"{text!r} is not valid. Write NAME=1,2,4 for values or NAME=LOW..HIGH for a range, followed by :log "
                "for a logarithmic scale."
            )
        content = {"low": low, "high": high, "log": bool(scale)} if dots else {"values": tuple(values.split(","))}
        return cls.model_validate({"name": name.replace("-", "_"), **content})

    @property
    def num_values(self) -> int | None:
        """The number of values; None for a range of floats."""
        return len(self.candidates()) if self.values or self.kind is int else None

    def candidates(self) -> Sequence[Any]:
        """All values, or the middle of a range of floats."""
        if self.values:
            return self.values
        assert self.low is not None and self.high is not None
        if self.kind is int:
            return range(int(self.low), int(self.high) + 1)
        return (math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2,)

    def suggest(self, trial: "optuna.Trial") -> Any:
        """The value for a trial, from its study's sampler or as it was enqueued."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        assert self.low is not None and self.high is not None
        if self.kind is int:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


class SweepConfig(Settings):
    """Settings of a sweep: those that all trials share, those that vary, and the search method."""

    base: TrainConfig = Field(default_factory=TrainConfig)
    vary: tuple[Vary, ...]
    sampler: Literal["tpe", "random", "grid"] = setting("tpe", "Search method", "sweep")
    """tpe prefers values near those of good trials, random samples uniformly, grid tries all combinations."""
    trials: int = setting(20, "Trials", "sweep", ge=1, le=MAX_TRIALS)
    """Models to train; a grid trains one per combination, and no combination is trained twice."""
    pruning: bool = setting(True, "Prune", "sweep")
    """After a third of its epochs, stops a trial whose best accuracy so far is below the median of earlier trials at
    that epoch."""
    workers: int = setting(0, "Workers", "sweep", ge=0, le=256)
    """Processes that train in parallel on this machine; 0: one per core or per GPU."""

    @model_validator(mode="after")
    def _validate(self) -> Self:
        names = [vary.name for vary in self.vary]
        if not names:
            raise ConfigError("A sweep varies at least one setting. Specify a setting with its values or its range.")
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"{repeated[0]} is specified twice. List all its values together.")
        if self.sampler == "grid":
            if ranges := [vary for vary in self.vary if not vary.values]:
                raise ConfigError(
                    f"A grid needs values, and {ranges[0].name} has a range, {ranges[0].text}. List values, or "
                    "choose the search method 'tpe' or 'random'."
                )
            if self.num_trials > MAX_TRIALS:
                raise ConfigError(f"The grid has {self.num_trials:,} combinations; at most {MAX_TRIALS:,} are allowed.")
        return self

    @property
    def num_combinations(self) -> int | None:
        """The number of different trials; None if a setting has a range of floats."""
        if any(vary.num_values is None for vary in self.vary):
            return None
        return math.prod(vary.num_values or 0 for vary in self.vary)

    @property
    def num_trials(self) -> int:
        """Models to train, all different."""
        if self.sampler == "grid":
            return self.num_combinations or 0
        return min(self.trials, self.num_combinations or self.trials)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """All combinations of the values, with the middle of each range of floats."""
        names = [vary.name for vary in self.vary]
        for values in itertools.product(*(vary.candidates() for vary in self.vary)):
            yield dict(zip(names, values, strict=True))

    def queue(self) -> list[dict[str, Any]]:
        """The values that each trial is enqueued with: all of them in a grid, none in a search."""
        return list(self.combinations()) if self.sampler == "grid" else [{} for _ in range(self.num_trials)]

    def sample_trials(self, num_samples: int) -> list[TrainConfig]:
        """The settings of at most `num_samples` trials, evenly spaced among the combinations, without invalid ones."""
        combinations = list(itertools.islice(self.combinations(), 10 * MAX_TRIALS))
        step = max(1, len(combinations) // num_samples)
        configs = []
        for params in combinations[::step][:num_samples]:
            with suppress(ConfigError):
                configs.append(self.base.changed(**params))
        return configs


def sweep_settings() -> list[Setting]:
    """The settings of the sweep itself, for a form or a parser."""
    fields = SweepConfig.model_fields
    return [describe(name, fields[name]) for name in ("sampler", "trials", "pruning", "workers")]

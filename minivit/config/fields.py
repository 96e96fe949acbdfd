"""Settings as pydantic fields with title, help, unit and bounds; their description for forms; their error messages."""

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from minivit.errors import ConfigError


def setting(default: Any, title: str, group: str, *, unit: str = "", **bounds: Any) -> Any:
    """A pydantic field with the metadata that a form and a parser need; its help is the docstring below it."""
    return Field(default, title=title, json_schema_extra={"unit": unit, "group": group}, **bounds)


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown names, and every error is a `ConfigError` sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _raise_config_error(cls, data: Any, handler: Any) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise ConfigError(" ".join(_sentence(cls, problem) for problem in error.errors())) from None


@dataclass(frozen=True)
class Setting:
    """One field of the settings, as a form or a parser needs it."""

    name: str
    title: str
    help: str
    unit: str
    group: str
    kind: Any  # bool, int, float, str or tuple (of class names)
    default: Any
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None  # exclusive bound

    def value(self, config: Any) -> Any:
        """This setting's value in a `TrainConfig`."""
        return getattr(config.model if self.name in type(config.model).model_fields else config, self.name)


def describe(name: str, field: FieldInfo) -> Setting:
    """A field of any `Settings` as a form or a parser needs it."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    keys = ("ge", "gt", "le", "lt")
    bounds = {key: getattr(part, key) for part in field.metadata for key in keys if hasattr(part, key)}
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return Setting(
        name=name,
        title=field.title or name,
        help=" ".join((field.description or "").split()),  # a docstring may be wrapped
        unit=str(extra["unit"]),
        group=str(extra["group"]),
        kind=type(choices[0]) if choices else get_origin(field.annotation) or field.annotation,
        default=field.default,
        choices=choices,
        minimum=bounds.get("ge"),
        maximum=bounds.get("le", bounds.get("lt")),
        above=bounds.get("gt"),
    )


def _sentence(model: type[BaseModel], problem: Any) -> str:
    """One pydantic problem as a sentence: what is wrong, the value, what to do."""
    path = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
    name = path.rsplit(".", 1)[-1]
    field = model.model_fields.get(name)
    title = f"{field.title} ({name})" if field and field.title else path or "The settings"
    if problem["type"] == "extra_forbidden":
        return f"There is no setting {name!r}. Remove it or correct its name."
    expected = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    unit = f" {field.json_schema_extra['unit']}" if field and isinstance(field.json_schema_extra, dict) else ""
    return f"{title} is {problem['input']!r}{unit.rstrip()}; it should be {expected}."

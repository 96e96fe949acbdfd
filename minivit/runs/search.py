"""Search in a list of runs.

cat done                    each word is part of the name, folder, state, classes or note
29 nov                      created on that day
#baseline                   has this tag; also tag:baseline
is:favorite                 is a favorite
accuracy>0.7  lr=0.001      a score or a setting, by its name on the command line; =, !=, <, <=, >, >=
"""

import calendar
import re
from collections.abc import Callable, Iterable
from operator import ge, gt, le, lt
from typing import Any

from minivit.config import settings
from minivit.errors import ConfigError
from minivit.runs.editing import read_annotations
from minivit.runs.run import Run
from minivit.runs.summary import run_title, summarize

DAY = rf"\d\d? (?:{'|'.join(calendar.month_abbr[1:])})\b".lower()  # as in titles of runs; one word of a query
Condition = Callable[[Run], bool]

SCORES: dict[str, Callable[[Run], float | None]] = {
    "accuracy": lambda run: summarize(run).test_acc,
    "best": lambda run: summarize(run).best_acc,
    "loss": lambda run: (summarize(run).last or {}).get("test_loss"),
    "epoch": lambda run: run.state.epoch,
}
SETTINGS = {setting.name: setting for setting in (*settings(), *settings("derived"))}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


def search(runs: Iterable[Run], query: str) -> list[Run]:
    """The runs that match every word of a query; ConfigError for a word that can match nothing."""
    conditions = [_condition(word) for word in re.findall(rf"{DAY}|\S+", query.lower())]
    return [run for run in runs if all(condition(run) for condition in conditions)]


def _condition(word: str) -> Condition:
    if word.startswith(("#", "tag:")):
        tag = word.removeprefix("tag:").removeprefix("#")
        if not tag:
            raise ConfigError(f"{word!r} names no tag. Write #baseline for runs with the tag baseline.")
        return lambda run: tag in (other.lower() for other in read_annotations(run).tags)
    if word.startswith("is:"):
        if word != "is:favorite":
            raise ConfigError(f"{word!r} is not known. Write is:favorite, or a state, such as done, as a single word.")
        return lambda run: read_annotations(run).favorite
    if match := re.fullmatch(r"(\w+)(<=|>=|!=|=|<|>)(.*)", word):
        return _comparison(*match.groups())
    if re.fullmatch(DAY, word):
        word = word.zfill(len("29 nov"))  # titles write 09 Nov
    return lambda run: word in _text(run)


def _text(run: Run) -> str:
    words = [run_title(run), run.id, run.sweep, run.state.phase, *run.config.classes, read_annotations(run).note]
    return "\n".join(words).lower()


def _comparison(name: str, sign: str, text: str) -> Condition:
    """A score or setting compared with a value; 70% is 0.7."""
    if name not in SCORES and name not in SETTINGS:
        scores = ", ".join(SCORES)
        raise ConfigError(f"{name!r} is not a score ({scores}) or a setting, such as lr, so it cannot be compared.")
    number = _number(text)
    if sign in COMPARISONS and number is None:
        raise ConfigError(f"{text!r} is not a number, so {name} cannot be compared with it. Write {name}{sign}0.5.")

    def compare(run: Run) -> bool:
        value = SCORES[name](run) if name in SCORES else SETTINGS[name].value(run.config)
        if sign in COMPARISONS:
            return isinstance(value, int | float) and COMPARISONS[sign](value, number)
        return _equals(value, text, number) == (sign == "=")

    return compare


def _equals(value: Any, text: str, number: float | None) -> bool:
    if isinstance(value, tuple):
        return text in (str(member).lower() for member in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value == number
    return str(value).lower() == text


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None

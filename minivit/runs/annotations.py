"""What the user notes on a run, in `annotations.json`: tags, a note, and whether it is a favorite."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from minivit.runs import schema
from minivit.runs.files import replace_file
from minivit.runs.run import Run
from minivit.runs.schema import Annotations


def read_annotations(run: Run) -> Annotations:
    """A run's annotations; none if it has no such file or its content is invalid."""
    return run.read("annotations.json", schema.parse_annotations, Annotations())


def annotate(run: Run, **changes: Any) -> None:
    """Replaces `tags`, `note` or `favorite` of a run; RunError for the example run or if they cannot be written."""
    run.require_own()
    if "tags" in changes:
        changes["tags"] = clean_tags(changes["tags"])
    if "note" in changes:
        changes["note"] = changes["note"].strip()[: schema.MAX_NOTE_LENGTH]
    before = read_annotations(run)
    after = replace(before, **changes)
    if after != before:
        replace_file(run.path / "annotations.json", asdict(after))


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as they are stored: without "#", with hyphens for spaces, each once, at most `MAX_TAGS`."""
    printable = ("".join(character if character.isprintable() else " " for character in tag) for tag in tags)
    hyphenated = ("-".join(tag.replace("#", " ").split())[: schema.MAX_TAG_LENGTH] for tag in printable)
    return tuple(dict.fromkeys(tag for tag in hyphenated if tag))[: schema.MAX_TAGS]

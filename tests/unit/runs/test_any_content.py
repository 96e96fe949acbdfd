"""Whatever a run's files, names and archives contain, it is read as valid values or refused as a user error."""

import copy
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode
from zipfile import ZipFile, ZipInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import keep, metrics_row

from minivit.config import preset
from minivit.errors import RunError
from minivit.runs import (
    Run,
    annotate,
    best_epoch,
    delete_unreadable,
    find_damage,
    find_run,
    list_runs,
    read_annotations,
    run_title,
    search,
    unreadable_runs,
)
from minivit.runs.archive import pack, unpack
from minivit.runs.card import card_html
from minivit.runs.comparison import curves_to_csv, short_names, to_csv, to_json

ANY_TEXT = st.text(
    st.characters() | st.characters(categories=["Cc", "Cf", "Cs"]), max_size=100
)  # with surrogates and control characters
few = settings(max_examples=settings().max_examples // 3)  # of what packs and unpacks a run
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
ANY_JSON = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=4) | st.dictionaries(ANY_TEXT, each, max_size=4), max_leaves=8
)
FILES = ("config.json", "environment.json", "state.json", "metrics.jsonl", "annotations.json", "control.json")


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that has every file."""
    config = preset("article").changed(
        dataset="shapes", classes=("circle", "star"), patch_size=16, embed_dim=8, epochs=2, device="cpu", threads=1
    )
    run = Run.create(config, tmp_path_factory.mktemp("complete"), sweep="a sweep")
    keep(run, 0, 1)
    for epoch in range(2):
        run.append_metrics(metrics_row(epoch))
    run.set_environment({"device": "cpu", "threads": 1, "num_train": 80, "num_test": 20, "assumed": ["heads"]})
    run.rename("A name")
    annotate(run, tags=["a", "b"], note="A note")
    run.request("resume")
    run.set_state("done", 1, "Finished.")
    return run.path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The runs folder of all examples, each of which empties it."""
    root = tmp_path_factory.mktemp("archives") / "runs"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("minivit.runs.archive.default_runs_dir", lambda: root)
        patched.setattr("minivit.runs.listing.default_runs_dir", lambda: root)
        yield root


def fresh(root: Path, complete: Path) -> Run:
    """A copy of the complete run, alone in the runs folder."""
    for path in root.iterdir():
        shutil.rmtree(path)
    shutil.copytree(complete, root / complete.name)
    return Run.open(root / complete.name)


@st.composite
def changed(draw: st.DrawFn, valid: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with a few values of any type, at any depth."""
    stored = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        part = stored
        key = draw(st.sampled_from(sorted(part)))
        while isinstance(part[key], dict) and part[key] and draw(st.booleans()):
            part = part[key]
            key = draw(st.sampled_from(sorted(part)))
        texts = st.lists(ANY_TEXT, min_size=2, max_size=3) if isinstance(part[key], list) else ANY_TEXT
        part[key] = draw(ANY_JSON | texts | st.floats() | st.integers(-10, 10))
    return stored


@given(data=st.data())
def test_a_run_is_listed_with_valid_values_or_named_as_unreadable(data: st.DataObject, root: Path, complete: Path):
    path = fresh(root, complete).path
    for name in data.draw(st.sets(st.sampled_from(FILES), min_size=1, max_size=2)):
        lines = [json.loads(line) for line in (path / name).read_text().splitlines()] if "jsonl" in name else None
        valid = lines or [json.loads((path / name).read_text())]
        for row in lines or []:
            row.pop("crc32")  # as rows that another program wrote
        stored = [data.draw(changed(each) | ANY_JSON) for each in valid]
        (path / name).write_text("\n".join(map(json.dumps, stored)) + "\n", encoding="utf-8")
    runs, unreadable = list_runs(), unreadable_runs()
    assert [run.id for run in runs] + list(unreadable) == [path.name]
    if runs:
        assert_valid(runs[0])
        runs[0].set_state("stopped")
        runs[0].delete()
    else:
        unreadable[path.name].encode()
        delete_unreadable(path.name)
    assert not list(root.iterdir())


def assert_valid(run: Run) -> None:
    """What lists, pages and exports show of a run can be written and is in range."""
    texts = [
        run_title(run),
        card_html(run),
        repr(run),
        *find_damage(run),
        run.state.message,
        *short_names([run]).values(),
    ]
    texts += [*find_damage(run), *short_names([run]).values()]
    exported = json.loads(to_json([run], with_rows=True))
    texts += [to_csv([run]), curves_to_csv([run]), json.dumps(exported, allow_nan=False)]
    for text in texts:
        text.encode()
    assert all(0 <= row["test_acc"] <= 1 for row in run.metrics())
    interval = re.search("95% interval (.*?)% to (.*?)%", card_html(run))
    assert interval is None or 0 <= float(interval[1]) <= float(interval[2]) <= 100
    assert best_epoch(run) in (None, *run.epochs())
    assert search([run], "") == [run]
    for query in ("accuracy>=0 loss>0", "#a", "is:favorite", "lr>0 depth=1", "classes=circle circle done 29 nov"):
        assert search([run], query) in ([], [run])


def test_a_folder_whose_name_is_not_text_is_named_and_can_be_deleted(root: Path, complete: Path) -> None:
    run = fresh(root, complete)
    run.path.rename(root / "\udc81-run")
    assert not list_runs()
    (name,) = unreadable_runs()
    (name + unreadable_runs()[name]).encode()
    delete_unreadable(name)
    assert not list(root.iterdir())


@few
@given(name=ANY_TEXT, note=ANY_TEXT, tags=st.lists(ANY_TEXT, max_size=5))
def test_any_name_note_and_tags_can_be_shown_exported_and_imported(
    name: str, note: str, tags: list[str], root: Path, complete: Path
) -> None:
    run = fresh(root, complete)
    run.rename(name)
    annotate(run, note=note, tags=tags)
    assert_valid(run)
    assert len(run.name) <= 80 and run.name.isprintable()
    assert all(search([run], f"#{tag}") == [run] for tag in read_annotations(run).tags)
    back = unpack(io.BytesIO(pack(run)))
    assert (back.name, read_annotations(back)) == (run.name, read_annotations(run))


@few
@given(
    name=st.text(st.characters(exclude_characters="/\0", codec=sys.getfilesystemencoding()), min_size=1, max_size=60)
)
def test_a_folder_of_any_name_is_found_by_its_link_exported_and_imported(name: str, root: Path, complete: Path) -> None:
    run = fresh(root, complete)
    if name in (".", ".."):
        return
    run.path.rename(root / name)
    assert [run.id for run in list_runs()] == ([] if name.startswith(".") else [name])
    for run in list_runs():
        (linked,) = parse_qs(urlencode({"run": run.id}))["run"]
        assert find_run(linked) == run
        assert_valid(run)
        back = unpack(io.BytesIO(pack(run)))
        assert back.path.parent == root and back.id.isascii() and back.metrics() == run.metrics()
        back.delete()


PARTS = (
    st.sampled_from(["..", ".", "", "run", "checkpoints", "pictures", "C:", "~", "config.json", "state.json"])
    | ANY_TEXT
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


@few
@given(data=st.data())
def test_an_archive_with_anything_in_it_becomes_a_run_or_leaves_nothing(
    data: st.DataObject, root: Path, complete: Path
) -> None:
    run = fresh(root, complete)
    content = pack(run)
    with ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    for name in data.draw(st.sets(st.sampled_from(sorted(members)), max_size=3)):
        del members[name]
    for path in data.draw(st.lists(PATHS | st.sampled_from(sorted(members) or ["x"]), max_size=3)):
        members[path] = data.draw(st.binary(max_size=100) | ANY_JSON.map(lambda stored: json.dumps(stored).encode()))
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name, member in members.items():
            info = ZipInfo()
            info.filename, info.external_attr = name, data.draw(st.integers(0, 2**32 - 1))
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(ZipInfo, "_encodeFilenameFlags", encode_anything)
                archive.writestr(info, member)
    unpack_or_leave_nothing(file, root, run)


def encode_anything(info: ZipInfo) -> tuple[bytes, int]:
    return info.filename.encode(errors="surrogatepass"), 0x800


@few
@given(data=st.data())
def test_an_archive_whose_bytes_changed_becomes_a_run_or_leaves_nothing(
    data: st.DataObject, root: Path, complete: Path
) -> None:
    run = fresh(root, complete)
    content = bytearray(pack(run))
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[position] = value
    unpack_or_leave_nothing(io.BytesIO(content[: data.draw(st.integers(0, len(content)))]), root, run)


def unpack_or_leave_nothing(file: io.BytesIO, root: Path, run: Run) -> None:
    before = {path for path in root.parent.rglob("*") if not path.is_relative_to(run.path)}
    try:
        back = unpack(file)
    except RunError as error:
        str(error).encode()
        assert {path for path in root.parent.rglob("*") if not path.is_relative_to(run.path)} == before
    else:
        assert set(list_runs()) == {run, back}
        assert_valid(back)
        assert all(path.is_file() or path.is_dir() for path in back.path.rglob("*")) and back.load_model()

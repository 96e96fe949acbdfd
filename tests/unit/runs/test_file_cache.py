"""Files that grow or are replaced while others read them are read once per version."""

import json
from pathlib import Path

import pytest
from cachetools import LRUCache

from minivit.runs import files
from minivit.runs.files import read_cached, read_json, read_rows, replace_file


def parse(line: bytes) -> dict | None:
    """The object in a line; None for anything else."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read_jsonl(path: Path) -> list[dict]:
    return read_rows(path, parse)[0]


def append(path: Path, *rows: object, end: str = "\n") -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(json.dumps(row) for row in rows) + end)


def test_only_the_new_lines_of_a_file_that_has_grown_are_parsed(tmp_path: Path) -> None:
    path, parsed = tmp_path / "rows.jsonl", []

    def read_jsonl(path: Path) -> list[dict]:
        return read_rows(path, lambda line: parsed.append(line) or parse(line))[0]

    append(path, {"a": 1}, {"a": 2})
    assert read_jsonl(path) == read_jsonl(path) == [{"a": 1}, {"a": 2}] and len(parsed) == 2
    append(path, {"a": 3}, {"a": 4}, end="")
    assert read_jsonl(path)[2:] == [{"a": 3}] and len(parsed) == 3
    append(path, end="\n")
    assert read_jsonl(path)[3:] == [{"a": 4}] and len(parsed) == 4


@pytest.mark.parametrize("replaced", [True, False])
def test_a_rewritten_file_is_read_again(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "rows.jsonl"
    append(path, {"a": 1}, {"a": 2})
    read_jsonl(path)
    if replaced:
        path.unlink()
    else:
        path.write_text("")
    assert read_jsonl(path) == []
    append(path, {"b": 1}, {"b": 2}, {"b": 3})
    assert read_jsonl(path) == [{"b": 1}, {"b": 2}, {"b": 3}]


def test_lines_that_are_not_objects_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\xff\n[2]\n\n{"a": \n{"a": 3}\n')
    assert read_rows(path, parse) == ([{"a": 1}, {"a": 3}], 3) and read_rows(tmp_path / "none", parse) == ([], 0)


def test_cached_rows_are_bounded_and_callers_may_change_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_ROWS", 6)
    tables = LRUCache(6, getsizeof=files._tables.getsizeof)
    monkeypatch.setattr(files, "_tables", tables)
    for number in range(5):
        append(tmp_path / f"{number}.jsonl", {"a": 1}, {"a": 2})
        read_jsonl(tmp_path / f"{number}.jsonl").clear()
    assert [path.stem for path in tables] == ["3", "4"]
    assert read_jsonl(tmp_path / "0.jsonl") == [{"a": 1}, {"a": 2}]
    append(tmp_path / "4.jsonl", *({"a": number} for number in range(20)))  # more rows than fit
    assert len(read_jsonl(tmp_path / "4.jsonl")) == 22 and [path.stem for path in tables] == ["4"]


def test_a_small_file_is_parsed_again_only_if_it_has_changed(tmp_path: Path) -> None:
    path, parsed = tmp_path / "state.json", []

    def parse(data: bytes) -> str:
        parsed.append(data)
        return data.decode().strip()

    replace_file(path, b"one")
    assert [read_cached(path, parse) for _ in range(3)] == ["one"] * 3
    assert parsed == [b"one"]
    replace_file(path, b"two")  # of the same size
    assert read_cached(path, parse) == "two"
    path.write_text("three")  # in place
    assert read_cached(path, parse) == "three"
    assert read_cached(path, len) == 5  # by another parser
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_cached(path, parse)


def test_a_file_that_is_not_json_is_read_again_and_callers_may_change_the_object(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{")
    assert read_json(path) == {}
    path.write_text('{"number": 5}')
    read_json(path)["number"] = 50
    assert read_json(path) == {"number": 5}


def test_a_file_of_a_million_lines_that_are_no_rows_is_given_up_soon(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n' + b"1\n" * 1_000_000 + b'{"a": 2}\n')
    parsed = []
    rows, num_invalid = read_rows(tmp_path / "rows.jsonl", lambda line: parsed.append(line) or parse(line))
    assert rows == [{"a": 1}] and num_invalid == len(parsed) - 1 == files.MAX_INVALID

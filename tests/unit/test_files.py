"""Files that grow or are replaced while others read them."""

import json
from pathlib import Path

import pytest

from minivit.runs import files
from minivit.runs.files import json_rows, last_lines, parsed, read_json, replace_file


def add(path: Path, *rows: object, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(json.dumps(row) for row in rows) + end)


def test_of_a_file_that_has_grown_only_what_came_since_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "rows.jsonl", []
    loads = json.loads
    monkeypatch.setattr(files.json, "loads", lambda text: read.append(text) or loads(text))
    add(path, {"a": 1}, {"a": 2})
    assert json_rows(path) == json_rows(path) == [{"a": 1}, {"a": 2}] and len(read) == 2
    add(path, {"a": 3}, {"a": 4}, end="")
    assert json_rows(path)[2:] == [{"a": 3}] and len(read) == 3
    add(path, end="\n")
    assert json_rows(path)[3:] == [{"a": 4}] and len(read) == 4


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_written_anew_is_read_anew(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "rows.jsonl"
    add(path, {"a": 1}, {"a": 2})
    json_rows(path)
    if replaced:
        path.unlink()
    else:
        path.write_text("")
    assert json_rows(path) == []
    add(path, {"b": 1}, {"b": 2}, {"b": 3})
    assert json_rows(path) == [{"b": 1}, {"b": 2}, {"b": 3}]


def test_what_is_no_row_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\xff\n[2]\n\n{"a": \n{"a": 3}\n')
    assert json_rows(path) == [{"a": 1}, {"a": 3}] and json_rows(tmp_path / "none") == []


def test_rows_remembered_are_bounded_and_a_caller_may_keep_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROWS_REMEMBERED", 4)
    for number in range(5):
        add(tmp_path / f"{number}.jsonl", {"a": 1}, {"a": 2})
        json_rows(tmp_path / f"{number}.jsonl").clear()
    assert len(files._grown) == 2 and json_rows(tmp_path / "0.jsonl") == [{"a": 1}, {"a": 2}]


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"line {number}\n" for number in range(100)) + "half")
    whole = last_lines(path, 3)
    monkeypatch.setattr(files, "TAIL_BYTES", 50)
    assert last_lines(path, 3) == whole == ["line 97", "line 98", "line 99"]
    assert all(line.startswith("line ") for line in last_lines(path, 100))


def test_a_small_file_is_parsed_again_only_when_it_is_another_one(tmp_path: Path) -> None:
    path, seen = tmp_path / "state.json", []

    def parse(data: bytes) -> str:
        seen.append(data)
        return data.decode().strip()

    replace_file(path, b"one")
    assert [parsed(path, parse) for _ in range(3)] == ["one"] * 3
    assert seen == [b"one"]
    replace_file(path, b"two")  # as long as before
    assert parsed(path, parse) == "two"
    path.write_text("three")  # in place
    assert parsed(path, parse) == "three"
    assert parsed(path, len) == 5  # another question
    path.unlink()
    with pytest.raises(FileNotFoundError):
        parsed(path, parse)


def test_a_file_that_cannot_be_parsed_is_asked_again_and_files_remembered_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILES_REMEMBERED", 3)
    for number in range(6):
        (tmp_path / f"{number}.json").write_text(f'{{"number": {number}}}')
    assert [read_json(tmp_path / f"{number}.json")["number"] for number in range(6)] == list(range(6))
    assert len(files._parsed) == 3
    (tmp_path / "broken.json").write_text("{")
    assert read_json(tmp_path / "broken.json") == {}
    found = read_json(tmp_path / "5.json")
    found["number"] = 50  # a caller may change what it was given
    assert read_json(tmp_path / "5.json") == {"number": 5}

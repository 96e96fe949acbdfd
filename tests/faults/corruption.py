"""Run folders whose files are damaged in every way that disks, programs and people damage them.

python -m pytest tests/faults                          a sample, in seconds
python -m pytest tests/faults --variants 3000          the long version; --first-variant 3000: the next
"""

import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from minivit.runs import Run
from minivit.runs.checkpoint import read_safetensors, serialize
from minivit.runs.pictures import picture_id

_file = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(_file, "PNG")
PICTURE = _file.getvalue()
FILES = ("config.json", "environment.json", "metrics.jsonl", "state.json", "control.json")
FILES += ("name.txt", "sweep.txt", "annotations.json", "lr.txt", "log.txt", f"pictures/{picture_id(PICTURE)}.png")
WEIGHTS = ("checkpoints/epoch-0001.safetensors", "resume.safetensors", "predictions/epoch-0001.safetensors")
VALUES = (None, "x", [], {}, -1, 0, 1e300, 10**30, True, "NaN", [[[]]])
VALUES += ("<img src=x onerror=alert(1)>", "\x00", "é" * 500)


def damage(run: Run, seed: int) -> str:
    """Damages one file of a run, or two, in a way that the seed decides; returns what was done."""
    rng = random.Random(seed)
    name = rng.choice(FILES + WEIGHTS)
    kind = rng.choice([*KINDS, *TENSOR_KINDS] if name in WEIGHTS else list(KINDS))
    path = run.path / name
    (KINDS | TENSOR_KINDS)[kind](path, rng)
    return f"{seed}: {kind} {name}"


def truncated(path: Path, rng: random.Random) -> None:
    content = read(path)
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def emptied(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def flipped(path: Path, rng: random.Random) -> None:
    content = bytearray(read(path) or b"x")
    for _ in range(rng.choice((1, 1, 8, 200))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def swapped(path: Path, rng: random.Random) -> None:
    other = path.parent / rng.choice([entry.name for entry in path.parent.iterdir() if entry.is_file()])
    path.write_bytes(read(other))


def mistyped(path: Path, rng: random.Random) -> None:
    """A value of a JSON file, or of a line, becomes one of another type or beyond reason."""
    lines = _lines(path)
    stored = rng.choice(lines) if lines else {}
    while isinstance(stored, dict) and stored:
        key = rng.choice(list(stored))
        if not isinstance(stored[key], dict) or rng.random() < 0.3:
            stored[key] = rng.choice(VALUES)
            break
        stored = stored[key]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def lacking(path: Path, rng: random.Random) -> None:
    """A name is missing."""
    lines = _lines(path)
    stored = rng.choice(lines) if lines else {}
    if isinstance(stored, dict) and stored:
        stored.pop(rng.choice(list(stored)))
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def nested(path: Path, rng: random.Random) -> None:
    path.write_text(rng.choice("[{") * 200_000 if rng.random() < 0.5 else '{"a":' * 50_000, encoding="utf-8")


def not_a_number(path: Path, rng: random.Random) -> None:
    path.write_bytes(read(path).replace(b"0.", rng.choice((b"NaN ", b"Infinity ", b"-1", b"1e999 ")), 3))


def gone(path: Path, rng: random.Random) -> None:
    path.unlink(missing_ok=True)


def folder(path: Path, rng: random.Random) -> None:
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def pipe(path: Path, rng: random.Random) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def loop(path: Path, rng: random.Random) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path)


def retyped(path: Path, rng: random.Random) -> None:
    """A tensor, or each of them, gets another dtype, shape or value."""
    tensors, metadata = read_safetensors(path)
    dtype = rng.choice((torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.float8_e4m3fn, torch.int8))
    change: Callable[[Tensor], Tensor] = rng.choice(
        [
            lambda tensor: tensor.to(dtype),
            lambda tensor: tensor.flatten()[:1],
            lambda tensor: tensor[None],
            lambda tensor: tensor.flatten().repeat(2),
            lambda tensor: tensor * float("nan"),
            lambda tensor: tensor + 10**9,
            lambda tensor: -1 - tensor,
        ]
    )
    names = list(tensors) if rng.random() < 0.5 else [rng.choice(list(tensors))]
    path.write_bytes(serialize(tensors | {name: change(tensors[name]).clone() for name in names}, metadata))


def renumbered(path: Path, rng: random.Random) -> None:
    """A value of the metadata, such as the position of a training, becomes another, or is missing."""
    tensors, metadata = read_safetensors(path)
    value = rng.choice(("-1", "0", "1", "3", "1000000", "nan", "-inf", "x", "", "9" * 30, None))
    changed = {**metadata, rng.choice([*metadata, "epoch"]): value}
    path.write_bytes(serialize(tensors, {name: value for name, value in changed.items() if value is not None}))


def folder_replaced(path: Path, rng: random.Random) -> None:
    """Instead of the checkpoints there is a file, a pipe or a loop."""
    checkpoints = next(parent for parent in path.parents if (parent / "checkpoints").exists()) / "checkpoints"
    shutil.rmtree(checkpoints)
    rng.choice((emptied, pipe, loop))(checkpoints, rng)


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    function.__name__: function
    for function in (
        *(truncated, emptied, flipped, flipped, swapped, mistyped, mistyped, lacking, nested, not_a_number),
        *(gone, folder, pipe, loop, folder_replaced),
    )
}


TENSOR_KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    function.__name__: function for function in (retyped, renumbered)
}


def read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _lines(path: Path) -> list[Any]:
    """The values of a JSON file; of rows without their checksums, which would reject every change."""
    if path.suffix != ".jsonl":
        return [_loads(read(path))]
    rows = [json.loads(line) for line in read(path).splitlines()]
    return [{name: value for name, value in row.items() if name != "crc32"} for row in rows]


def _loads(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return {"text": content.decode(errors="replace")}

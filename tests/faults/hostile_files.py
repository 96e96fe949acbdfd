"""Archives and model files made to break, fill, escape from or take over what reads them.

Each function gives variants of one kind by name. `Archive` writes .zip files whose headers may lie.
"""

import io
import json
import random
import stat
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile, ZipInfo

MEGABYTE = 2**20
Variant = tuple[str, bytes]

NAMES = {  # that a file is given in addition
    "above": "../evil{suffix}",
    "far above": "../" * 40 + "tmp/evil{suffix}",
    "above within": "{folder}/../../evil{suffix}",
    "absolute": "/tmp/minivit-evil{suffix}",
    "home": "~/evil{suffix}",
    "backslashes": "..\\..\\evil{suffix}",
    "drive": "C:\\evil{suffix}",
    "share": "\\\\host\\share\\evil{suffix}",
    "stream": "{folder}/evil{suffix}:stream",
    "zero byte": "{folder}/evil\0{suffix}",
    "line": "{folder}/e\nvil{suffix}",
    "escape codes": "{folder}/\x1b[2Jevil{suffix}",
    "markup": "{folder}/<img src=x onerror=alert(1)>{suffix}",
    "right to left": "{folder}/\u202egnp.exe{suffix}",
    "long": "{folder}/" + "e" * 5000 + "{suffix}",
    "deep": "{folder}/" + "e/" * 1200 + "evil{suffix}",
    "empty parts": "{folder}//.//evil{suffix}",
    "dot": ".",
    "hidden": ".evil{suffix}",
    "device": "{folder}/CON{suffix}",
    "format": "{folder}/%s%n{{0}}{suffix}",
    "lock": "{folder}/worker.lock",
    "code": "{folder}/__init__.py",
    "config again": "{folder}/evil/config.json",
}
MODES = {
    "link": stat.S_IFLNK,
    "pipe": stat.S_IFIFO,
    "device": stat.S_IFCHR,
    "disk": stat.S_IFBLK,
    "socket": stat.S_IFSOCK,
}


def rewrite(archive: bytes, change: Callable[[ZipFile], object], drop: str = "") -> bytes:
    """The archive without the files named `drop`, and with what `change` writes."""
    file = io.BytesIO()
    with ZipFile(io.BytesIO(archive)) as old, ZipFile(file, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that are there twice
        for info in old.infolist():
            if not drop or not info.filename.endswith(drop):
                new.writestr(info, old.read(info))
        change(new)
    return file.getvalue()


def archives(archive: bytes, folder: str, member: str, suffix: str) -> Iterator[Variant]:
    """Variants of an archive whose files are in `folder`; `member` is one of them."""
    for name, pattern in NAMES.items():
        target = pattern.format(folder=folder, suffix=suffix) if pattern else ""
        yield f"name {name}", rewrite(archive, lambda new, target=target: new.writestr(ZipInfo(target), b"evil"))
    for name, mode in MODES.items():
        info = ZipInfo(f"{folder}/evil{suffix}")
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        yield f"mode {name}", rewrite(archive, lambda new, info=info: new.writestr(info, "/etc/passwd"))
        info = ZipInfo(member)
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        changed = rewrite(archive, lambda new, info=info: new.writestr(info, "/etc/passwd"), drop=member)
        yield f"mode {name} of {member}", changed
    for method in (ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA):
        megabytes = 400 if method == ZIP_DEFLATED else 60
        bomb = rewrite(archive, partial(write_zeros, name=f"{folder}/evil{suffix}", megabytes=megabytes, method=method))
        yield f"bomb {method}", bomb
        yield (
            f"bomb {method} in {member}",
            rewrite(archive, lambda new, m=method: write_zeros(new, member, 60, m), drop=member),
        )
    many = rewrite(archive, lambda new: [write_zeros(new, f"{folder}/evil{i}{suffix}", 15) for i in range(30)])
    yield "many bombs", many
    yield "bomb within", rewrite(archive, lambda new: new.writestr(f"{folder}/evil{suffix}", many))
    yield "overlapping files", overlapping(archive, 2000)
    yield "a million files", overlapping(archive, 1_000_000)
    yield (
        "100,000 empty files",
        overlapping(rewrite(b"PK\5\6" + bytes(18), lambda new: new.writestr("a/b.png", b"")), 100_000),
    )
    yield "the same name twice", rewrite(archive, lambda new: new.writestr(member, b"evil"))
    yield "two folders", rewrite(archive, lambda new: new.writestr(f"other/{member}", b"evil"))
    yield "garbage before", b"x" * 5000 + archive
    yield "garbage after", archive + b"x" * 70_000
    yield "a comment", archive[:-2] + b"\xff\xff" + b"x" * 65_535
    yield "only an end", b"PK\5\6" + bytes(18)
    yield "nothing", b""
    yield "text", b"PK\3\4 is how a .zip starts" * 100
    for name, magic in {
        "gzip": b"\x1f\x8b\x08",
        "7z": b"7z\xbc\xaf\x27\x1c",
        "rar": b"Rar!\x1a\7",
        "numpy": b"\x93NUMPY",
    }.items():
        yield f"{name} in disguise", magic + archive
    yield (
        "numpy archive in disguise",
        rewrite(b"PK\5\6" + bytes(18), lambda new: new.writestr("a.npy", b"\x93NUMPY\1\0v\0")),
    )
    fields = {  # of the central directory: offset, format, values
        "flags": (8, "<H", (1, 0x40, 0x2000, 0x800, 8)),
        "method": (10, "<H", (1, 8, 9, 12, 14, 93, 95, 99)),
        "checksum": (16, "<I", (0, 0xFFFFFFFF)),
        "compressed size": (20, "<I", (0, 1, 2**31, 0xFFFFFFFF)),
        "size": (24, "<I", (0, 1, 2**30, 2**31, 0xFFFFFFFF)),
        "name length": (28, "<H", (0, 1, 0xFFFF)),
        "extra length": (30, "<H", (1, 0xFFFF)),
        "disk": (34, "<H", (1, 0xFFFF)),
        "offset": (42, "<I", (1, 2**31, 0xFFFFFFFF)),
    }
    for field, (offset, fmt, values) in fields.items():
        for value in values:
            yield f"{field} {value}", patched(archive, b"PK\1\2", offset, fmt, value)
    for field, (offset, fmt) in {"entries": (10, "<H"), "directory size": (12, "<I"), "directory": (16, "<I")}.items():
        for value in (0, 1, 0x7FFF if fmt == "<H" else 2**31 - 1, 0xFFFF if fmt == "<H" else 2**32 - 1):
            yield f"{field} {value}", patched(archive, b"PK\5\6", offset, fmt, value)
    for field, (offset, fmt) in {
        "local name": (26, "<H"),
        "local extra": (28, "<H"),
        "local method": (8, "<H"),
    }.items():
        yield field, patched(archive, b"PK\3\4", offset, fmt, 0xFFFF)


def write_zeros(archive: ZipFile, name: str, megabytes: int, method: int = ZIP_DEFLATED) -> None:
    """Stores what was compressed once, and lists it as compressed."""
    compressed, checksum = compressed_zeros(megabytes, method)
    archive.writestr(ZipInfo(name), compressed)
    info = archive.filelist[-1]
    info.compress_type, info.CRC, info.file_size = method, checksum, megabytes * MEGABYTE


@cache
def compressed_zeros(megabytes: int, method: int) -> tuple[bytes, int]:
    """Zeros as a .zip file has them, and their checksum."""
    file = io.BytesIO()
    with ZipFile(file, "w", method, compresslevel=1) as archive, archive.open("x", "w") as member:
        for _ in range(megabytes):
            member.write(bytes(MEGABYTE))
    info = archive.filelist[0]
    return file.getvalue()[31 : 31 + info.compress_size], info.CRC


def overlapping(archive: bytes, count: int) -> bytes:
    """The archive with its first file listed `count` times, by other names of the same length."""
    start = archive.index(b"PK\1\2")
    length = sum(struct.unpack_from("<HHH", archive, start + 28))
    record = archive[start : start + 46 + length]
    records = record * (count - 1000) + b"".join(record[:46] + f"{i:03}".encode() + record[49:] for i in range(1000))
    total = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count & 0xFFFF, count & 0xFFFF, len(records), start, 0)
    return archive[:start] + records + total


def patched(archive: bytes, signature: bytes, offset: int, fmt: str, value: int) -> bytes:
    """The archive with another number in its last header of a kind."""
    content = bytearray(archive)
    struct.pack_into(fmt, content, archive.rindex(signature) + offset, value)
    return bytes(content)


def flipped(content: bytes, rng: random.Random) -> bytes:
    """The content with some bits flipped, a part missing, doubled or zeroed."""
    data = bytearray(content)
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    match rng.randrange(6):
        case 0:
            data = data[:start]
        case 1:
            data[start:end] = b""
        case 2:
            data[start:start] = data[start:end]
        case 3:
            data[start : start + 64] = bytes(64)
        case _:
            for _ in range(rng.choice((1, 4, 50))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


# Models


def safetensors_files(content: bytes) -> Iterator[Variant]:
    """Variants of a .safetensors file."""
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]

    def written(changed: object) -> bytes:
        text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + data

    for length in (0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1):
        yield f"header length {length}", struct.pack("<Q", length) + content[8:]
    for name, text in {
        "nested": b"[" * 200_000,
        "nested object": b'{"a":' * 100_000,
        "UTF-16": json.dumps(header).encode("utf-16"),
        "latin-1": b'{"\xe9": {}}',
        "list": b"[]",
        "null": b"null",
        "number": b"1" * 100_000,
        "empty": b"{}",
        "same twice": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' * 2,
    }.items():
        yield f"header {name}", written(text)
    empty = b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    yield "a header of 50 MB", written(b"{%s}" % b",".join(empty % number for number in range(900_000)))
    yield "metadata of 50 MB", written(header | {"__metadata__": {"classes": "x" * 50 * MEGABYTE}})
    tensor = max((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"][1])
    for name, change in {
        **{f"dtype {dtype}": {"dtype": dtype} for dtype in ("F64", "I64", "BOOL", "U8", "F8_E5M2", "C64", "evil", 7)},
        **{
            f"shape {shape}": {"shape": shape}
            for shape in ([2**40], [2**32, 2**32], [-1], [0], [], [1.5], ["x"], "x", [1] * 1000)
        },
        **{
            f"offsets {at}": {"data_offsets": at}
            for at in ([0, 2**40], [-4, 0], [8, 4], [0], "x", [2**63, 2**64 - 1], [0, 4])
        },
    }.items():
        yield name, written(header | {tensor: header[tensor] | change})
    facts = header.get("__metadata__", {})
    for key, value in {
        "preprocessor": "evil",
        "arguments": '{"num_heads": 1e400, "in_chans": 1000000000, "global_pool": []}',
        "arguments ": "[" * 100_000,
        "classes": json.dumps(["x" * 10_000] * 100),
        "norm_eps": '{"a": 1}',
        "norm_eps ": "NaN",
        "label_names": "evil",
        "pretrained_cfg": '{"mean": [1e999]}',
    }.items():
        yield f"metadata {key}", written(header | {"__metadata__": facts | {key.strip(): value}})
    yield "metadata number", written(header | {"__metadata__": {"a": 1}})
    for name in [name for name in header if name != "__metadata__"]:
        yield f"without {name}", written({key: value for key, value in header.items() if key != name})
        wrong = header[name] | {"shape": [header[name]["data_offsets"][1] // 4 - header[name]["data_offsets"][0] // 4]}
        yield f"flat {name}", written(header | {name: wrong})
        wrong = header[name] | {"shape": [1, 1, *header[name]["shape"]]}
        yield f"more dimensions of {name}", written(header | {name: wrong})
    yield "NaN", content[:-4] + struct.pack("<f", float("nan"))
    yield "infinite", content[:-4] + struct.pack("<f", float("inf"))


HUGGING_FACE: dict[str, object] = {
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "id2label": {"0": "circle", "1": "star"},
    "global_pool": "token",
    "label_names": ["circle", "star"],
    "model_args": {"num_heads": 4},
    "pretrained_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "input_size": [3, 32, 32],
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "crop_mode": "center",
        "label_names": ["circle", "star"],
    },
}
PREPROCESSOR: dict[str, object] = {
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "size": {"height": 32, "shortest_edge": 36},
    "crop_size": {"height": 32},
    "do_center_crop": True,
    "do_resize": True,
    "resample": 3,
}
INDEX: dict[str, object] = {"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}}
VALUES = (
    None,
    "x",
    "9" * 5000,
    [],
    {},
    [None],
    [[1]],
    {"0": []},
    {"height": []},
    -1,
    0,
    2.0,
    1e300,
    10**400,
    True,
    "../../etc/passwd",
)


def mistyped(settings: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
    """The settings with one value after another of another type or beyond reason."""
    for key, original in settings.items():
        for value in VALUES:
            yield f"{key} {str(value)[:20]}", {**settings, key: value}
        if isinstance(original, dict):
            for name, inner in mistyped(original):
                yield f"{key}.{name}", {**settings, key: inner}

"""Files that torch.load reads, made to run code, or to take memory that the file does not have."""

import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from zipfile import ZipFile

import torch
from torch import Tensor

from tests.faults.hostile_files import Variant, rewrite, write_zeros

CALLS = {  # the first argument is a command or Python code that makes a file
    "os.system": "cos\nsystem\n(S'{command}'\ntR.",
    "eval": "cbuiltins\neval\n(S'{code}'\ntR.",
    "exec": "cbuiltins\nexec\n(S'{code}'\ntR.",
    "subprocess": "csubprocess\ncall\n((lp0\nS'touch'\naS'{marker}'\natR.",
    "instance": "(S'{command}'\nios\nsystem\n.",
    "torch's own eval": "ctorch._dynamo.utils\neval\n(S'{code}'\ntR.",
    "runpy": "crunpy\n_run_code\n(S'{code}'\n(dtR.",
    "getattr": "cbuiltins\ngetattr\n(cos\nsystem\nS'__call__'\ntR(S'{command}'\ntR.",
    "numpy": "cnumpy.testing._private.utils\nrunstring\n(S'{code}'\n(dtR.",
    "namespace state": "cargparse\nNamespace\n)R(dS'__class__'\ncos\nsystem\nsb.",
    "pathlib": "cpathlib\nPath.touch\n(cpathlib\nPath\n(S'{marker}'\ntRtR.",
    "deep": "(" * 200_000 + ".",
    "long number": "L" + "9" * 100_000 + "L\n.",
    "huge bytes": "\x8e" + "\xff" * 7 + "\x7f.",
    "no end": "(((((",
}


def saved(stored: object, **options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(stored, file, **options)
    return file.getvalue()


def with_record(archive: bytes, name: str, content: bytes) -> bytes:
    """A torch archive with another record of that name."""
    file = io.BytesIO()
    with ZipFile(io.BytesIO(archive)) as old, ZipFile(file, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename.endswith(name) else old.read(info))
    return file.getvalue()


def pickles(weights: Mapping[str, Tensor], marker: Path) -> Iterator[Variant]:
    """Variants of a .pth file; those that run code make the file `marker`."""
    whole = saved(dict(weights))
    words = {"command": f"touch {marker}", "code": f'open("{marker}", "w")', "marker": marker}
    for name, text in CALLS.items():
        code = text.format(**words).encode("latin-1")
        yield f"{name} alone", code
        yield f"{name} with a protocol", b"\x80\x02" + code
        yield f"{name} in an archive", with_record(whole, "data.pkl", code)
    key = "patch_embed.proj.weight"
    warnings.simplefilter("ignore")  # about sparse and quantized tensors and TorchScript; pytest restores it
    one = torch.zeros(1)
    tensors = {
        "expanded": one.expand(100_000, 100_000),
        "expanded half": one.half().expand(100_000, 100_000),
        "expanded patches": one.expand(64, 3, 20_000, 20_000),
        "sparse": torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.long), torch.zeros(0), (10**6, 10**6)),
        "sparse rows": torch.sparse_csr_tensor(torch.zeros(5, dtype=torch.long), [], [], (4, 10**9), dtype=torch.float),
        "meta": torch.empty(10**6, 10**6, device="meta"),
        "complex": torch.zeros(4, 4, dtype=torch.complex64),
        "quantized": torch.quantize_per_tensor(torch.zeros(4, 4), 0.1, 0, torch.qint8),
        "bool": torch.zeros(4, 4, dtype=torch.bool),
        "float8": torch.zeros(4, 4, dtype=torch.float8_e5m2),
        "bits": torch.zeros(4, dtype=torch.uint8).view(torch.bits8),
        "scalar": torch.zeros(()),
        "empty": torch.zeros(0),
        "no rows": torch.zeros(0, 3, 8, 8),
        "a view": torch.zeros(1000)[::100],
        "gradient": torch.zeros(4, 4, requires_grad=True),
        "double": torch.zeros(4, 4, dtype=torch.float64),
    }
    for name, tensor in tensors.items():
        yield f"tensor {name}", saved({**weights, key: tensor})
        yield f"further tensor {name}", saved({**weights, "evil": tensor})
    itself: dict[str, object] = {}
    itself["model"] = itself
    for name, stored in {
        "itself": itself,
        "a list": list(weights.values()),
        "nothing": {},
        "no names": dict(enumerate(weights.values())),
        "a number": 7,
        "a text": "x" * 1000,
        "two nestings": {"model": {"state_dict": {"net": dict(weights)}}},
        "many nestings": {"model": {"model": {"model": {"model": {"model": dict(weights)}}}}},
        "odd names": {**weights, "\0": one, "blocks.x.y": one, "blocks.": one, 7: one, None: one},
        "many blocks": {**weights, **{f"blocks.{i}.evil": one for i in range(5000)}},
        "50,000 names": {**weights, **dict.fromkeys(map(str, range(50_000)), one)},
    }.items():
        yield f"stored {name}", saved(stored)
    yield "legacy", saved(dict(weights), _use_new_zipfile_serialization=False)
    names = ZipFile(io.BytesIO(whole)).namelist()
    for name in (name for name in names if name.endswith(("data.pkl", "data/0", "version"))):
        yield f"bomb as {name}", rewrite(whole, lambda new, name=name: write_zeros(new, name, 350), drop=name)
    yield "byte order", with_record(whole, "byteorder", b"evil")
    yield "a numpy archive", with_record(whole, "data.pkl", b"\x93NUMPY\1\0v\0{}")
    script = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), script)
    yield "a script", script.getvalue()

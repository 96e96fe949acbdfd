"""The benchmark: its reference is the article's experiment, and its table names what was measured."""

import json
from contextlib import contextmanager
from itertools import islice

import pytest
import torch

from minivit.bench import Measurement, measurements, table, write_json
from minivit.bench.reference import Items, ReferenceViT, epochs
from minivit.config import preset
from minivit.data import ImageSet, load_images
from minivit.errors import ConfigError
from minivit.model import MiniViT


def test_the_references_model_and_patches_are_those_of_the_article():
    torch.manual_seed(0)
    reference, ours = ReferenceViT(4), MiniViT(preset("article").model)
    assert sum(parameter.numel() for parameter in reference.parameters()) == 28_676
    names = {"embed": "patch_embed.proj", "out": "blocks.0.attn.proj", "norm1": "blocks.0.norm1"}
    names |= {"norm2": "blocks.0.norm2", "feed_forward.0": "blocks.0.mlp.fc1", "feed_forward.2": "blocks.0.mlp.fc2"}
    names |= {"head": "head"}
    theirs, weights = reference.state_dict(), ours.state_dict()
    weights["cls_token"] = theirs["cls_token"]
    for kind in ("weight", "bias"):
        for name, our_name in names.items():
            full = f"{our_name}.{kind}"
            weights[full] = theirs[f"{name}.{kind}"].view_as(weights[full])
        weights[f"blocks.0.attn.qkv.{kind}"] = torch.cat([theirs[f"{name}.{kind}"] for name in "qkv"])
    ours.load_state_dict(weights)
    image_set = load_images("shapes", classes=["circle", "star"], images_per_class=4)
    items = Items(image_set)
    logits, attn = reference(torch.stack([items[index][0] for index in range(8)]))
    our_logits, (our_attn,) = ours(image_set.images / 255, return_attn=True)
    torch.testing.assert_close(logits, our_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attn, our_attn[:, 0], atol=1e-6, rtol=1e-5)
    assert [items[index][1] for index in range(8)] == image_set.labels.tolist()


def test_the_reference_learns():
    labels = torch.arange(2).repeat(100)
    images = (torch.randint(0, 120, (200, 3, 32, 32)) + 100 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    easy = ImageSet(images, labels, ("dark", "bright"))
    (seconds, _), (_, accuracy) = islice(epochs(easy, easy), 2)
    assert accuracy == 1 and seconds > 0


def test_the_table_and_the_file_hold_the_measured_values_and_their_targets(tmp_path):
    results = [Measurement("an epoch", 0.4123, "s", note="median"), Measurement("ratio", 12.3, "×", "≥ 9")]
    lines = table(results).splitlines()
    assert lines[1].split() == ["an", "epoch", "0.4123", "s", "median"]
    assert lines[2].split() == ["ratio", "12.3", "×", "≥", "9"]
    write_json(results, tmp_path / "bench.json")
    stored = json.loads((tmp_path / "bench.json").read_text())
    assert stored["figures"][1] == {"name": "ratio", "value": 12.3, "unit": "×", "target": "≥ 9", "note": ""}
    assert stored["machine"]["torch"] == torch.__version__
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        write_json(results, tmp_path / "nowhere" / "bench.json")


def test_the_share_of_the_peak_is_that_of_the_useful_operations_per_second(monkeypatch):
    monkeypatch.setattr(measurements, "peak_speed", lambda *_: 2e12)
    monkeypatch.setattr(measurements, "flop_per_image", lambda _: 5e6)
    results = [result.value for result in measurements._against_peak(preset("article"), 1000.0)]
    assert results == [2000, 1000, 0.25]  # GFLOP/s, images/s, %


def test_the_speed_next_to_a_busy_process_is_compared_to_that_without(monkeypatch):
    busy, real = [], measurements.busy_process

    @contextmanager
    def watched():
        with real() as process:
            busy.append(process)
            yield process

    def worker_speed(config):
        is_busy = bool(busy) and busy[-1].poll() is None
        return 1000.0 * (config.threads or 4) * config.devices / (2 if is_busy else 1)

    monkeypatch.setattr(measurements, "busy_process", watched)
    monkeypatch.setattr(measurements, "worker_speed", worker_speed)
    monkeypatch.setattr(measurements, "num_cores", lambda: 2)
    images = {"dataset": "shapes", "data_dir": "", "classes": ("circle", "star")}
    results = {result.name: result.value for result in measurements.under_load(images)}
    assert results["strong, one thread"] == 1000 and results["strong, 2 threads"] == 2000
    assert results["strong, 2 threads, next to a busy process ÷ alone"] == 0.5
    assert results["strong, 2 processes, next to a busy process ÷ alone"] == 0.5
    assert results["strong, threads as chosen"] == 4000
    assert len(busy) == 8 and all(process.poll() is not None for process in busy)

"""What pages remember: once for all who ask, and no more bytes than there is room for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from minivit.config import preset
from minivit.data import ImageSet
from minivit.data.memmap import MappedImages
from minivit.errors import RunError
from minivit.inference import Predictions
from minivit.model import MiniViT
from pages.parts.shell.memoize import MAX_BYTES, MEMORY, Memory, memoize, num_bytes


def test_the_values_that_nobody_asked_for_the_longest_go_when_all_pass_the_bound():
    memory = Memory(most_bytes=1000)
    for key in "abc":
        memory.get(key, lambda: np.zeros(300, np.uint8))
    memory.get("a", lambda: pytest.fail("a is remembered"))
    memory.get("d", lambda: np.ones(400, np.uint8))  # 1,300 bytes with all
    assert memory.num_bytes == 1000
    made = [key for key in "dacb" if memory.get(key, lambda: np.full(300, 7, np.uint8))[0] == 7]
    assert made == ["b"]
    assert memory.num_bytes <= 1000


def test_a_value_larger_than_the_bound_is_kept_alone():
    memory = Memory(most_bytes=1000)
    memory.get("small", lambda: b"x" * 100)
    large = memory.get("large", lambda: np.zeros(5000, np.uint8))
    assert memory.get("large", lambda: pytest.fail("it is remembered")) is large
    assert memory.num_bytes == 5000


def test_many_who_ask_at_once_compute_once_and_others_need_not_wait():
    memory, counted = Memory(10**6), []
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        counted.append(1)
        begun.set()
        assert go_on.wait(30)
        return "made"

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(memory.get, "slow", slow) for _ in range(7)]
        assert begun.wait(30)
        assert memory.get("other", lambda: "at once") == "at once"
        time.sleep(0.05)
        go_on.set()
        assert [one.result() for one in asked] == ["made"] * 7
    assert len(counted) == 1


def test_what_went_wrong_is_not_remembered():
    memory = Memory(1000)

    def wrong() -> int:
        raise RunError("No such weights.")

    for _ in range(2):
        with pytest.raises(RunError):
            memory.get("key", wrong)
    assert memory.get("key", lambda: 3) == 3


def test_arguments_that_begin_with_an_underscore_do_not_count():
    calls = []

    @memoize()
    def add(one: int, _two: int) -> int:
        calls.append((one, _two))
        return one + _two

    MEMORY.clear()
    assert [add(1, 2), add(1, 3), add(2, 3)] == [3, 3, 5]
    assert calls == [(1, 2), (2, 3)]
    assert MEMORY.most_bytes == MAX_BYTES == 2**30


def test_bytes_are_those_of_all_numbers_inside_and_shared_ones_count_once():
    images = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    labels = torch.zeros(10, dtype=torch.int64)
    whole = ImageSet(images, labels, ("cat", "dog"))
    numbers = images.nbytes + labels.nbytes
    assert numbers <= num_bytes(whole) < numbers + 500
    assert num_bytes((whole, ImageSet(images[:5], labels[:5], ("cat", "dog")))) < numbers + 1000  # views
    model = MiniViT(preset("article").model)
    assert num_bytes(model) >= 4 * sum(parameter.numel() for parameter in model.parameters())
    logits = np.zeros((100, 4), np.float32)
    assert num_bytes({"maps": [logits, logits.copy()]}) >= 2 * logits.nbytes
    said = Predictions(np.zeros(100, np.int64), logits, np.zeros(100, np.float32))
    assert num_bytes(said) >= logits.nbytes + 1200
    assert num_bytes("é" * 1000) >= 1000


def test_images_that_lie_on_disk_count_by_their_places_alone():
    on_disk = MappedImages([torch.zeros(1000, 3, 32, 32, dtype=torch.uint8)])
    assert num_bytes(on_disk) == on_disk.rows.nbytes == 8000

"""The cache of the pages: a value is computed once for all sessions, and the cache has a bound in bytes."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from streamlit.runtime.scriptrunner import RerunData, RerunException
from streamlit.runtime.state import SafeSessionState, SessionState

from minivit.config import preset
from minivit.data import ImageSet
from minivit.data.image_set import MappedImages
from minivit.errors import RunError
from minivit.inference import Predictions
from minivit.inference import logits as compute_logits
from minivit.model import MiniViT
from minivit.runs import Checkpoint, Run
from pages.parts.shell import cache
from pages.parts.shell.memoize import CACHE, MAX_BYTES, bounded_cache, memoize, num_bytes


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    CACHE.clear()


def test_the_cache_holds_a_gigabyte_in_total_and_a_larger_value_alone():
    assert CACHE.maxsize == MAX_BYTES == 2**30
    values = bounded_cache(1000)
    for key in "abc":
        values[key] = np.zeros(300, np.uint8)
    values["a"]
    values["d"] = np.ones(400, np.uint8)
    assert set(values) == {"c", "a", "d"} and values.currsize == 1000
    values["large"] = np.zeros(5000, np.uint8)
    assert list(values) == ["large"]


def test_sessions_that_need_the_same_value_wait_and_others_do_not():
    started, proceed, calls = threading.Event(), threading.Event(), []

    @memoize()
    def slow(key: str) -> str:
        calls.append(key)
        if key == "slow":
            started.set()
            assert proceed.wait(30)
        return key

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(slow, "slow") for _ in range(7)]
        assert started.wait(30)
        assert slow("other") == "other"
        time.sleep(0.05)
        proceed.set()
        assert [result.result() for result in results] == ["slow"] * 7
    assert calls == ["slow", "other"]


def test_errors_are_not_cached():
    calls = []

    @memoize()
    def fail_once() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise RunError("No such weights.")
        return 3

    with pytest.raises(RunError):
        fail_once()
    assert [fail_once(), fail_once(), len(calls)] == [3, 3, 2]


def test_an_epoch_and_the_checkpoint_at_its_end_are_one_entry(run: Run):
    for epoch in (0, 1):
        run.save_checkpoint(MiniViT(run.config.model), epoch)
    model = cache.model_of(run, 1)
    assert cache.model_of(run, Checkpoint(1)) is model
    assert cache.model_of(Run.open(run.path), 1) is model
    assert cache.model_of(run, 0) is not model


def test_bytes_are_those_of_all_arrays_and_shared_storages_count_once():
    images = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    labels = torch.zeros(10, dtype=torch.int64)
    image_set = ImageSet(images, labels, ("cat", "dog"))
    size = images.nbytes + labels.nbytes
    assert size <= num_bytes(image_set) < size + 500
    assert num_bytes((image_set, ImageSet(images[:5], labels[:5], ("cat", "dog")))) < size + 1000  # views
    model = MiniViT(preset("article").model)
    assert num_bytes(model) >= 4 * sum(parameter.numel() for parameter in model.parameters())
    logits = np.zeros((100, 4), np.float32)
    assert num_bytes({"maps": [logits, logits.copy()]}) >= 2 * logits.nbytes
    predictions = Predictions.from_logits(torch.from_numpy(logits), torch.zeros(100, dtype=torch.int64))
    assert num_bytes(predictions) >= 100 * (8 + 8 + 4 + 4)
    assert num_bytes("é" * 1000) >= 1000


def test_mapped_images_count_by_their_rows_alone():
    on_disk = MappedImages([torch.zeros(1000, 3, 32, 32, dtype=torch.uint8)])
    assert num_bytes(on_disk) == on_disk.rows.nbytes == 8000


def test_a_value_is_kept_if_the_script_is_superseded_while_it_is_computed(monkeypatch: pytest.MonkeyPatch):
    @contextmanager
    def spinner(text: str) -> Iterator[None]:
        yield
        raise RerunException(RerunData())  # as Streamlit, where a superseded script next writes to the page

    calls = []
    monkeypatch.setattr("streamlit.spinner", spinner)
    slow = memoize("Computing")(lambda: calls.append(1))
    with pytest.raises(RerunException):
        slow()
    slow()
    assert len(calls) == 1


def supersede(monkeypatch: pytest.MonkeyPatch, is_superseded: Callable[[], bool]) -> None:
    """Lets Streamlit end the script, wherever it looks for a newer one, if `is_superseded()`."""

    def end() -> None:
        if is_superseded():
            raise RerunException(RerunData())

    state = SafeSessionState(SessionState(), end)
    monkeypatch.setattr("streamlit.runtime.state.session_state_proxy.get_session_state", lambda: state)


def test_the_computation_of_a_superseded_script_ends_between_two_chunks(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    model, images = MiniViT(preset("article").changed(depth=2).model), torch.zeros(200, 3, 32, 32)
    model.patch_embed.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    answers = iter([False, False, True])
    supersede(monkeypatch, lambda: next(answers, False))
    predict = memoize()(lambda: compute_logits(model, images))
    with pytest.raises(RerunException):
        predict()
    assert sizes == [64, 64]
    assert len(predict()) == 200  # nothing is left of the first, not even a lock
    assert sizes == [64, 64, 64, 64, 64, 8]


def test_a_superseded_script_does_not_wait_for_the_computation_of_another_session(monkeypatch: pytest.MonkeyPatch):
    started, proceed, sessions = threading.Event(), threading.Event(), threading.local()

    @memoize()
    def slow() -> int:
        started.set()
        assert proceed.wait(30)
        return 3

    def leave() -> int:
        sessions.left = True
        return slow()

    supersede(monkeypatch, lambda: hasattr(sessions, "left"))
    with ThreadPoolExecutor(2) as pool:
        result = pool.submit(slow)
        assert started.wait(30)
        with pytest.raises(RerunException):
            pool.submit(leave).result()
        proceed.set()
        assert result.result() == 3

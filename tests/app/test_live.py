"""A live run as many watch it: looked at once for all, and as it is now for whoever opens or changes something."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace

import pytest

from minivit.runs import Run
from pages.parts.train import live
from pages.parts.train.live import SHARED_SECONDS, Watched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time as the live part sees it; it stands still."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every look at a run's rows."""
    looks: list[int] = []
    metrics = Run.metrics
    monkeypatch.setattr(Run, "metrics", lambda run: looks.append(1) or metrics(run))
    return looks


def test_many_who_watch_are_given_the_same_bytes_and_the_files_are_read_once(
    trained: Run, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, watched = counted(monkeypatch), Watched(trained)
    seen = [watched.look() for _ in range(50)]
    assert len(looks) == 1 and all(one.sent is seen[0].sent for one in seen)
    trained.append_metrics({**trained.metrics()[-1], "epoch": 4, "test_acc": 0.125})
    looks.clear()
    assert watched.look().sent is seen[0].sent and not looks
    clock.now += SHARED_SECONDS + 0.1
    assert "test accuracy 12.5%" in json.loads(watched.look().sent)["headline"] and len(looks) == 1


def test_whoever_opens_the_page_sees_the_run_as_it_is_now(trained: Run, clock: SimpleNamespace) -> None:
    watched = Watched(trained)
    assert watched.look().state.phase == "done"
    trained.set_state("paused", 2, "Paused at epoch 2.")
    assert watched.look().state.phase == "done"
    assert watched.look(anew=True).state.phase == "paused"
    assert watched.look().state.phase == "paused"  # and all others from then on


def test_nobody_waits_while_another_looks(
    trained: Run, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, begun, go_on = Watched(trained), Event(), Event()
    before = watched.look()
    metrics = Run.metrics

    def slow(run: Run) -> list[dict]:
        begun.set()
        assert go_on.wait(60)
        return metrics(run)

    monkeypatch.setattr(Run, "metrics", slow)
    clock.now += SHARED_SECONDS + 0.1
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(watched.look)
        assert begun.wait(60)
        clock.now += SHARED_SECONDS + 0.1
        assert watched.look() is before
        go_on.set()
        assert looking.result() is not before


def test_curves_stay_where_images_or_weights_are_gone(trained: Run, clock: SimpleNamespace) -> None:
    newest = trained.path / "checkpoints" / "epoch-0003.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    look = Watched(trained).look()
    assert f"{newest} does not hold the weights" in str(look.problem)
    sent = json.loads(look.sent)
    assert sent["maps"] is None and sent["curves"]["loss"]["test"]["shape"] == [2, 4]
    assert Watched(trained).look().problem is not None

"""A live run as many watch it: looked at once for all, and as it is now for whoever opens or changes something."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace

import pytest

from minivit.runs import FINISHED, Phase, Run, adopt_learning_rate
from pages.parts.shell import cache
from pages.parts.train import poller as poller_module
from pages.parts.train.poller import POLL_SECONDS, RunPoller
from tests.app.conftest import Open, button, errors, live, widget


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time as the live part sees it; it stands still."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(poller_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
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
    looks, poller = counted(monkeypatch), RunPoller(trained)
    statuses = [poller.poll() for _ in range(50)]
    assert len(looks) == 1 and all(status.payload is statuses[0].payload for status in statuses)
    trained.append_metrics({**trained.metrics()[-1], "epoch": 4, "test_acc": 0.125})
    looks.clear()
    assert poller.poll().payload is statuses[0].payload and not looks
    clock.now += POLL_SECONDS
    assert "test accuracy 12.5%" in json.loads(poller.poll().payload)["headline"] and len(looks) == 1


def test_whoever_opens_the_page_sees_the_run_as_it_is_now(trained: Run, clock: SimpleNamespace) -> None:
    poller = RunPoller(trained)
    assert poller.poll().state.phase == "done"
    trained.set_state("paused", 2, "As you asked.")
    assert poller.poll().state.phase == "done"
    assert poller.poll(force=True).state.phase == "paused"
    assert poller.poll().state.phase == "paused"  # and all others from then on


def test_viewers_do_not_wait_for_each_other(
    trained: Run, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller, started, go_on = RunPoller(trained), Event(), Event()
    before = poller.poll()
    metrics = Run.metrics
    trained.set_state("paused", 2)  # news for who looks next

    def slow(run: Run) -> list[dict]:
        started.set()
        assert go_on.wait(60)
        return metrics(run)

    monkeypatch.setattr(Run, "metrics", slow)
    clock.now += POLL_SECONDS
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(poller.poll)
        assert started.wait(60)
        clock.now += POLL_SECONDS
        assert poller.poll() is before
        go_on.set()
        assert looking.result() is not before


def test_curves_stay_where_images_or_weights_are_gone(trained: Run, clock: SimpleNamespace) -> None:
    newest = trained.path / "checkpoints" / "epoch-0003.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    status = RunPoller(trained).poll()
    assert f"{newest} does not contain the weights" in str(status.error)
    payload = json.loads(status.payload)
    assert payload["maps"] is None and payload["curves"]["loss"]["test"]["shape"] == [2, 4]
    assert RunPoller(trained).poll().error is not None


def test_a_checkpoint_that_a_training_does_not_keep_is_no_error(
    trained: Run, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "is_worker_alive", lambda run: True)
    trained.set_state("training", 3)
    poller, (older, newest) = RunPoller(trained), trained.checkpoints()[-2:]
    monkeypatch.setattr(cache, "recent_checkpoint", lambda run, active: older)
    maps = json.loads(poller.poll(force=True).payload)["maps"]
    assert maps
    monkeypatch.setattr(cache, "recent_checkpoint", lambda run, active: newest)
    trained.checkpoint_path(newest).unlink()
    status = poller.poll(force=True)
    assert status.error is None and json.loads(status.payload)["maps"] == maps
    assert RunPoller(trained).poll().error is None  # somebody who comes now sees no maps yet


def test_the_curves_of_a_run_that_has_ended_are_encoded_once(trained: Run, clock: SimpleNamespace) -> None:
    poller = RunPoller(trained)
    payload = poller.poll().payload
    assert poller.poll(force=True).payload is payload
    trained.append_metrics({**trained.metrics()[-1], "epoch": 4, "test_acc": 0.125})
    assert "test accuracy 12.5%" in json.loads(poller.poll(force=True).payload)["headline"]


def test_a_click_on_a_curve_opens_predictions_at_the_nearest_saved_epoch(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trained.path / "checkpoints" / "epoch-0002.safetensors").unlink()
    monkeypatch.setattr("pages.parts.train.live.live_curves", lambda payload, key: 2)
    page = open_page("train", run=trained.id)
    assert page.title[0].value == "Predictions"
    assert (page.query_params["run"], page.query_params["epoch"]) == (trained.id, "1")


@pytest.mark.parametrize("phase", ["training", "paused"])
def test_the_learning_rate_of_a_run_is_changed_from_the_next_epoch_on(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch, phase: Phase
) -> None:
    monkeypatch.setattr(Run, "is_worker_alive", lambda run: phase == "training")
    trained.set_state(phase, 2)
    page = open_page("train", run=trained.id)
    page = widget(page, "number_input", "New learning rate").set_value(0.0123).run()
    page = button(page, "Change from the next epoch").click().run()
    assert not errors(page)
    assert " · lr 0.0123 from the next epoch · " in live(open_page("train", run=trained.id))["headline"]
    assert adopt_learning_rate(trained, 2)
    assert Run.open(trained.path).config.lr_changes == ((2, 0.0123),)
    page = widget(open_page("train", run=trained.id), "number_input", "New learning rate").set_value(0.0).run()
    assert "Learning rate (lr) is 0.0" in errors(button(page, "Change from the next epoch").click().run())[0]


def test_the_browser_s_tab_shows_the_share_done_and_then_the_end(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr("streamlit.set_page_config", lambda page_title, **others: titles.append(page_title))
    open_page("train", run=trained.id)
    assert set(titles) == {"Train · MiniViT"}  # nobody waited for this end
    monkeypatch.setattr(Run, "is_worker_alive", lambda run: True)
    trained.set_state("training", 1, progress=0.5)
    page = open_page("train", run=trained.id)
    assert titles[-1] == "50% · MiniViT"
    trained.set_state("done", 3)
    page.run()
    assert titles[-1] == "done · MiniViT"


def test_a_run_that_ended_early_says_why(open_page: Open, trained: Run) -> None:
    assert FINISHED not in [text.value for text in open_page("train", run=trained.id).text]
    trained.set_state("done", 3, "Reached the target accuracy of 30% in epoch 3.")
    assert "Reached the target accuracy of 30% in epoch 3." in [
        text.value for text in open_page("train", run=trained.id).text
    ]

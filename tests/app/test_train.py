"""A run on Train: its state, its result, and what it offers next."""

import json
from typing import Any

import pytest

from minivit.runs import Run
from minivit.stats import wilson
from tests.app.conftest import Open, button, errors, labels, live


def test_a_finished_run_says_how_good_it_is_and_offers_what_to_do_next(
    open_page: Open, trained: Run, started: list[Run]
) -> None:
    page = open_page("train", run=trained.id)
    accuracies = [row["test_acc"] for row in trained.metrics()]
    low, high = wilson(round(18 * accuracies[-1]), 18)
    best = accuracies.index(max(accuracies))
    shares = [100 * accuracies[best], trained.metrics()[best]["test_loss"]]
    assert best == 0 or live(page)["best"] == dict(zip(("epoch", "accuracy", "loss"), [best, *shares], strict=True))
    interval = f"95% interval {low:.1%} to {high:.1%} (Wilson)"
    summary = f"**{accuracies[-1]:.1%}** test accuracy · {interval} · best epoch {best}: "
    (result,) = [part for part in page.markdown if part.value.startswith(summary)]
    assert "The best epoch is selected on the test images" in result.help
    assert trained.config.train_loss_note in [caption.value for caption in page.caption]
    links = {link.proto.label: link.proto.query_string for link in page.main.get("page_link")}
    assert links["See mistakes"] == f"run={trained.id}&result=incorrect"
    assert {"See attention", "Compare with untrained"} <= set(links)
    button(page, "Train 10 more epochs").click().run()
    assert [run.id for run in started] == [trained.id]
    assert Run.open(trained.path).config.epochs == trained.config.epochs + 10


@pytest.mark.parametrize(
    ("phase", "offered"),
    [
        ("queued", ["Pause", "Stop"]),
        ("loading", ["Pause", "Stop"]),
        ("training", ["Pause", "Stop"]),
        ("paused", ["Resume"]),
        ("stopped", ["Resume"]),
        ("failed", ["Resume"]),
        ("done", []),
    ],
)
def test_a_run_offers_what_its_state_allows(
    open_page: Open, trained: Run, started: list[Run], monkeypatch: pytest.MonkeyPatch, phase: Any, offered: list[str]
) -> None:
    monkeypatch.setattr(Run, "is_worker_alive", lambda run: "Pause" in offered)
    trained.set_state(phase, 2, "What the worker said.")
    page = open_page("train", run=trained.id)
    assert [label for label in labels(page) if label in ("Pause", "Stop", "Resume")] == offered
    assert live(page)["headline"].startswith("epoch 2 of 3 · test accuracy ")
    assert (live(page)["progress"], live(page)["active"]) == (pytest.approx(2 / 3), "Pause" in offered)
    if phase in ("paused", "stopped", "failed"):
        assert "What the worker said." in [text.value for text in page.text]
    for label in offered:
        button(page, label).click().run()
        assert trained.requested_command() == {"Pause": "pause", "Stop": "stop", "Resume": None}[label]
    assert len(started) == ("Resume" in offered)


def test_a_dead_worker_shows_as_failed_with_a_way_on(open_page: Open, trained: Run, started: list[Run]) -> None:
    trained.set_state("training", 2)
    page = open_page("train", run=trained.id)
    sentence = "The worker stopped unexpectedly after epoch 2. Resume continues from there."
    assert sentence in [text.value for text in page.text]
    assert "Pause" not in labels(page)
    button(page, "Resume").click().run()
    assert [run.id for run in started] == [trained.id]


def test_a_broken_row_of_metrics_does_not_stop_the_page(open_page: Open, trained: Run) -> None:
    with (trained.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 4})[:-3] + "\n")
    page = open_page("train", run=trained.id)
    assert live(page)["headline"].startswith("epoch 3 of 3 · test accuracy ")
    assert not errors(page)


def test_other_seeds_and_shuffled_labels_are_trained_as_controls_of_a_finished_run(
    open_page: Open, trained: Run, started: list[Run]
) -> None:
    page = open_page("train", run=trained.id)
    button(page, "Two other seeds").click().run()
    button(page, "Shuffled labels").click().run()
    assert not errors(page)
    seeds = [seed for seed in range(3) if seed != trained.config.seed][:2]
    controls = [{"seed": seed} for seed in seeds] + [{"shuffle_labels": True}]
    assert [run.config for run in started] == [trained.config.changed(**control) for control in controls]
    button(page, "Two other seeds").click().run()
    assert {run.config.seed for run in started[3:]}.isdisjoint({trained.config.seed, *seeds})

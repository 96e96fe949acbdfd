"""Sweeps: what is chosen reaches the study, and a study shows as it is."""

import pytest
from filelock import FileLock

from minivit.config import TrainConfig
from minivit.runs import Run
from minivit.sweep import Sweep, SweepConfig, Vary, best_trial, list_sweeps
from minivit.sweep.workers import main
from tests.app.conftest import Open, button, errors, labels, widget

START = "Start sweep"


@pytest.fixture
def started_sweeps(monkeypatch: pytest.MonkeyPatch) -> list[Sweep]:
    """The sweeps whose workers a page started; no process is started."""
    sweeps: list[Sweep] = []
    for module in ("form", "live"):
        monkeypatch.setattr(f"pages.parts.sweeps.{module}.start_workers", sweeps.append)
    return sweeps


@pytest.fixture
def swept(tiny: TrainConfig) -> Sweep:
    """A finished grid with a pair that cannot be."""
    base = tiny.changed(images_per_class=20, epochs=2)
    vary = (Vary.parse("num_heads=1,3"), Vary.parse("lr=0.001,0.01"))
    sweep = Sweep.create(SweepConfig(base=base, vary=vary, sampler="grid", pruning=False))
    assert main(str(sweep.path), 0) == 0
    return sweep


def test_what_is_chosen_reaches_the_study(open_page: Open, started_sweeps: list[Sweep]) -> None:
    page = open_page("sweeps")
    assert "The accuracy curves appear here once you start a sweep." in [info.value for info in page.info]
    widget(page, "selectbox", "Data set").select("shapes").run()
    widget(page, "number_input", "Epochs").set_value(3)
    widget(page, "multiselect", "Vary").set_value(["depth", "lr", "norm"]).run()
    widget(page, "text_input", "Values of layers").set_value("1, 2")
    widget(page, "text_input", "Values of learning rate").set_value("1e-4..1e-2:log")
    widget(page, "selectbox", "Search method").select("tpe")
    widget(page, "number_input", "Trials").set_value(7)
    widget(page, "number_input", "Workers").set_value(3)
    page.run()
    assert any(text.value.startswith("**7** models of 3 epochs, **3** in parallel") for text in page.markdown)
    button(page, START).click().run()
    assert not errors(page)
    (sweep,) = started_sweeps
    vary = [Vary.parse(text) for text in ("depth=1,2", "lr=1e-4..1e-2:log", "norm=post,pre")]
    assert list(sweep.config.vary) == vary
    assert (sweep.config.sampler, sweep.config.num_trials, sweep.config.workers) == ("tpe", 7, 3)
    assert (sweep.config.base.dataset, sweep.config.base.epochs) == ("shapes", 3)
    assert page.query_params["sweep"] == sweep.id
    assert {tried.phase for tried in sweep.trials()} == {"queued"}


def test_the_page_offers_a_grid_of_nine_different_models(open_page: Open, started_sweeps: list[Sweep]) -> None:
    page = open_page("sweeps")
    widget(page, "selectbox", "Data set").select("shapes").run()
    button(page, START).click().run()
    assert not errors(page)
    (sweep,) = started_sweeps
    configs = {sweep.config.base.changed(**params).model_dump_json() for params in sweep.config.queue()}
    assert len(configs) == 9 == len(sweep.trials())


def test_invalid_settings_are_reported_and_start_nothing(open_page: Open, started_sweeps: list[Sweep]) -> None:
    page = open_page("sweeps")
    widget(page, "selectbox", "Data set").select("shapes").run()
    widget(page, "text_input", "Values of learning rate").set_value("1..99").run()
    assert errors(page) == ["Learning rate (lr) is 99.0; it should be less than or equal to 10."]
    assert button(page, START).disabled
    widget(page, "multiselect", "Vary").set_value([]).run()
    assert errors(page) == ["A sweep varies at least one setting. Specify a setting with its values or its range."]
    assert not started_sweeps and not list_sweeps()


def test_a_finished_sweep_shows_its_trials_both_charts_and_its_best_run(open_page: Open, swept: Sweep) -> None:
    page = open_page("sweeps", sweep=swept.id)
    assert "4 trials: 2 done, 2 pruned" in [text.value for text in page.text]
    best = best_trial(swept.trials())
    assert any(f"**{best.accuracy:.1%}** test accuracy, trial {best.number}" in text.value for text in page.markdown)
    selected = "The best of 2 trials is selected on the test images, so its accuracy is slightly optimistic."
    assert selected in [caption.value for caption in page.caption]  # the pruned trials have no accuracy
    links = {link.proto.query_string for link in page.main.get("page_link")}
    assert links == {f"run={best.run_id}"}
    assert len(page.get("plotly_chart")) == 2
    table = page.dataframe[0].value
    assert list(table["state"]) == ["done", "done", "pruned", "pruned"]
    assert table["reason"][2].startswith("3 heads do not divide an embedding dimension of 16.")
    assert not {"Stop", "Resume"} & set(labels(page))


def test_a_sweep_can_be_stopped_resumed_and_retried(
    open_page: Open, started_sweeps: list[Sweep], tiny: TrainConfig
) -> None:
    sweep = Sweep.create(SweepConfig(base=tiny, vary=(Vary.parse("seed=0,1"),), sampler="grid"))
    page = open_page("sweeps")
    assert "2 trials: 2 queued" in [text.value for text in page.text]
    button(page, "Resume").click().run()
    assert [run.id for run in started_sweeps] == [sweep.id]
    with FileLock(sweep.worker_lock(0)):
        page.run()
        assert "Resume" not in labels(page)
        button(page, "Stop").click().run()
    assert sweep.requested_command() == "stop"
    study = sweep.study()
    study.ask()
    study.tell(0, state=type(study.trials[0].state).FAIL)
    button(page.run(), "Retry 1 failed").click().run()
    assert [tried.phase for tried in sweep.trials()] == ["failed", "queued", "queued"]


def test_a_link_to_a_missing_sweep_reports_it(open_page: Open, swept: Sweep, trained: Run) -> None:
    page = open_page("sweeps", sweep="../gone", run=trained.id)
    assert errors(page) == [f"The sweep '../gone' is not in {swept.path.parent}. Choose another one."]

"""What holds for every page: it opens, says what to do next, and takes a link as it comes."""

import shutil

import pytest

from minivit.runs import Run, default_runs_dir
from tests.app.conftest import Open, button, captions, errors, labels, sent, widget

OF_A_RUN = ("predictions", "attention", "compare", "anatomy")
NEXT = {
    "runs": "There are no runs yet.",
    "train": "The curves of the run appear here once you train a model.",
}
TITLES = {"dashboard": "MiniViT"} | {
    name: name.capitalize()
    for name in ("data", "train", "sweeps", "predictions", "attention", "compare", "anatomy", "runs")
}


@pytest.mark.parametrize("name", TITLES)
def test_a_page_opens_under_its_title_with_links_to_all(open_page: Open, trained: Run, name: str) -> None:
    page = open_page(name, run=trained.id)
    assert [title.value for title in page.title] == [TITLES[name]]
    linked = [link.proto for link in page.sidebar.get("page_link")]
    assert [link.label for link in linked] == ["Home", *list(TITLES.values())[1:]]
    assert {link.query_string for link in linked} == {f"run={trained.id}"}
    assert not errors(page)


@pytest.mark.parametrize("name", NEXT)
def test_a_page_without_a_run_offers_the_next_step(open_page: Open, name: str) -> None:
    page = open_page(name)
    assert NEXT[name] in " ".join(info.value for info in page.info)
    assert name == "train" or page.main.get("page_link")[0].proto.label == "Train a model"
    assert not errors(page)
    assert not {"Pause", "Stop", "Resume"} & set(labels(page))


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_page_of_a_run_opens_with_the_example_where_there_is_no_other(open_page: Open, name: str) -> None:
    page = open_page(name)
    assert not errors(page) and page.query_params["run"] == "example"
    assert widget(page, "selectbox", "Run").options == ["Example run"]
    assert "This run ships with MiniViT and is read-only. You have no runs of your own yet." in captions(page)
    assert page.get("bidi_component") or page.get("plotly_chart")


@pytest.mark.parametrize("name", [*OF_A_RUN, "train"])
def test_a_page_of_a_run_shows_its_settings(open_page: Open, trained: Run, name: str) -> None:
    (table,) = (each.value for each in open_page(name, run=trained.id).dataframe if "in the article" in each.value)
    assert table.set_index("name").loc["lr", "value"] == "0.01"


@pytest.mark.parametrize("name", OF_A_RUN)
def test_the_user_s_newest_run_comes_before_the_example(open_page: Open, trained: Run, name: str) -> None:
    page = open_page(name)
    assert page.query_params["run"] == trained.id
    picker = widget(page, "selectbox", "Run")
    assert picker.options[1:] == ["Example run"]
    picker.select("example").run()
    assert not errors(page) and page.query_params["run"] == "example"
    assert "This run ships with MiniViT and is read-only." in captions(page)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *((name, "20200101-000000-gone") for name in (*OF_A_RUN, "train")),
        *(("attention", wanted) for wanted in ("../..", "..", ".", "/etc", "a/../b", "x\0y", "x" * 5000)),
    ],
)
def test_a_link_to_a_missing_run_reports_it_and_shows_no_other(
    open_page: Open, trained: Run, name: str, wanted: str
) -> None:
    root = default_runs_dir()
    shutil.copy(trained.path / "config.json", root.parent)  # what looks like a run outside of the folder is none
    page = open_page(name, run=wanted)
    assert errors(page) == [f"The run {wanted!r} is not in {root}. It may have been deleted; choose another run."]
    assert not page.get("bidi_component")
    assert len(page.dataframe) == 0


@pytest.mark.parametrize("name", [*OF_A_RUN, "train"])
def test_a_link_to_a_run_that_is_gone_offers_the_others(open_page: Open, trained: Run, name: str) -> None:
    page = open_page(name, run="20200101-000000-gone")
    picker = widget(page, "selectbox", "Run")
    assert picker.value is None
    picker.select(trained.id).run()
    assert page.query_params["run"] == trained.id
    assert not errors(page)


@pytest.mark.parametrize("name", [*OF_A_RUN, "train"])
def test_another_run_picked_is_another_run_everywhere_on_the_page(open_page: Open, trained: Run, name: str) -> None:
    older = trained.path.with_name("20200101-000000-star-cross-circle")
    shutil.copytree(trained.path, older)
    page = open_page(name)
    assert page.query_params["run"] == trained.id  # the newest
    widget(page, "selectbox", "Run").select(older.name).run()
    assert page.query_params["run"] == older.name
    assert {link.proto.query_string for link in page.sidebar.get("page_link")} == {f"run={older.name}"}


def test_a_picker_shows_a_sweep_as_one_line_that_opens_at_its_newest_run(
    open_page: Open, trained: Run, swept_runs: list[Run]
) -> None:
    page = open_page("predictions", run=trained.id)
    picker = page.selectbox[0]
    assert picker.options[1:] == ["sweep of lr, num_heads, 01 Jan 00:00:00 · 3 runs", "Example run"]
    picker.select(swept_runs[0].id).run()
    assert page.query_params["run"] == swept_runs[0].id
    assert len(page.selectbox[0].options) == 5
    page.selectbox[0].select(swept_runs[2].id).run()
    assert page.query_params["run"] == swept_runs[2].id
    page.selectbox[0].select(trained.id).run()
    assert len(page.selectbox[0].options) == 3
    assert not errors(page)


def test_a_link_to_a_trial_opens_its_sweep(open_page: Open, swept_runs: list[Run]) -> None:
    page = open_page("attention", run=swept_runs[1].id)
    assert page.selectbox[0].value == swept_runs[1].id and len(page.selectbox[0].options) == 5
    second = open_page("compare", run=swept_runs[1].id, run2=swept_runs[2].id)
    assert not errors(second)


@pytest.mark.parametrize(
    ("epoch", "image", "layer", "head", "token"),
    [
        ("99", "100000", "9", "9", "p64"),
        ("-1", "-1", "0", "0", "p-1"),
        ("last", "<b>", "1.5", "'; --", "q3"),
        ("²", "٣٣٣٣", "１００", "²", "p²"),
        ("9" * 5000, "9" * 5000, "9" * 5000, "9" * 5000, "p" + "9" * 5000),
        ("", "", "", "", ""),
    ],
    ids=["too large", "too small", "words", "foreign digits", "endless", "empty"],
)
def test_nonsense_in_a_link_falls_back_to_what_the_run_has(
    open_page: Open, trained: Run, epoch: str, image: str, layer: str, head: str, token: str
) -> None:
    view = {"run": trained.id, "epoch": epoch, "image": image, "layer": layer, "head": head, "token": token}
    attention = open_page("attention", **view)
    assert attention.number_input[0].value == 0
    assert attention.select_slider[0].value == 3
    assert sent(attention)["requested"] == {"layer": 1, "head": "mean", "token": 0}
    compare = open_page("compare", **view, before=epoch, images="nothing")
    assert [slider.value for slider in compare.select_slider] == [0, 3]
    assert [box.value for box in compare.selectbox[1:]] == [None, "all", 2, "mean"]
    predictions = open_page("predictions", **view, true="dog", predicted="", order="?", page="x", result="7")
    assert [chips.value for chips in predictions.button_group] == [None, None, None]
    assert [box.value for box in predictions.selectbox[1:]] == ["index"]
    assert open_page("anatomy", **view).select_slider[0].value == "3"
    assert not [errors(page) for page in (attention, compare, predictions) if errors(page)]


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_run_without_checkpoints_is_reported(open_page: Open, trained: Run, name: str) -> None:
    shutil.rmtree(trained.path / "checkpoints")
    page = open_page(name, run=trained.id)
    assert errors(page) == [f"The run {trained.id} has no checkpoints yet. Wait for epoch 0, or choose another run."]
    assert not page.get("bidi_component")


@pytest.mark.parametrize("name", [*OF_A_RUN[:3], "train"])
def test_missing_images_of_a_run_are_reported_once(
    open_page: Open, trained: Run, name: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained.config.changed(data_dir=str(tmp_path / "moved away"))
    (trained.path / "config.json").write_text(config.model_dump_json().replace("{", '{"schema_version": 1, ', 1))
    page = open_page(name, run=trained.id)
    assert errors(page) == [f"There is no folder {tmp_path / 'moved away'}. Check the path of the data folder."]


def test_a_broken_checkpoint_is_reported_in_a_sentence(open_page: Open, trained: Run) -> None:
    newest = trained.path / "checkpoints" / "epoch-0003.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    page = open_page("attention", run=trained.id)
    assert errors(page) == [f"{newest} does not contain the weights of this run's model. Choose another epoch."]
    page.select_slider[0].set_value(2).run()  # corrected right there
    assert not errors(page)


def test_the_best_epoch_is_named_and_runs_open_there_if_the_user_prefers_it(open_page: Open, trained: Run) -> None:
    row = trained.metrics()[-1]
    for epoch, accuracy in ((1, 0.99), (2, 0.99), (3, 0.5), (4, 1.0)):  # of epoch 4 no weights are saved
        trained.append_metrics({**row, "epoch": epoch, "test_acc": accuracy})
    page = open_page("predictions", run=trained.id)
    assert page.select_slider[0].value == 3
    assert any("chosen by test accuracy" in text.value for text in page.markdown)
    assert button(page, "Open epoch").click().run().query_params["epoch"] == "1"
    page.select_slider[0].set_value(2).run()
    widget(page, "checkbox", "Open runs at their best epoch").check().run()
    assert page.query_params["epoch"] == "1"
    for name, value in (("compare", 1), ("anatomy", "1"), ("attention", 1)):
        page.switch_page(f"pages/{name}.py")
        del page.query_params["epoch"]
        assert page.run().select_slider[-1].value == value
        assert button(page, "Open epoch").label == "Open epoch 1"
    page.switch_page("pages/train.py").run()
    assert any("best epoch 1: 99.0%" in text.value for text in page.markdown)

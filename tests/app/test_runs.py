"""Runs: all in a table; what is deleted is what was ticked."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from minivit.config import settings
from minivit.inference import predict_run
from minivit.runs import Run, list_runs, read_annotations
from tests.app.conftest import Open, button, charts, errors, labels, tick, widget


def test_all_runs_stand_in_the_table_newest_first(open_page: Open, trained: Run) -> None:
    shutil.copytree(trained.path, trained.path.with_name("20200101-000000-older"))
    table = open_page("runs").dataframe[0].value
    assert table["folder"].tolist() == [str(run.path) for run in list_runs()]
    assert table["epoch"].tolist() == [3, 3]
    assert "Delete" not in " ".join(labels(open_page("runs")))


def test_a_search_by_name_or_setting_lists_the_runs_that_match(open_page: Open, trained: Run) -> None:
    other = trained.path.with_name("20200101-000000-older")
    shutil.copytree(trained.path, other)
    Run.open(other).rename("Twice the rate")
    config = json.loads((other / "config.json").read_text("utf-8"))
    (other / "config.json").write_text(json.dumps(config | {"lr": 2 * config["lr"]}), "utf-8")
    page = open_page("runs")
    for query, folders in {
        "": [trained.path, other],
        "twice": [other],
        f"lr={config['lr']}": [trained.path],
        f"done lr={2 * config['lr']}": [other],
        "done rate older": [other],
    }.items():
        widget(page, "text_input", "Search").set_value(query).run()
        assert page.dataframe[0].value["folder"].tolist() == [str(path) for path in folders]
    widget(page, "text_input", "Search").set_value("paused").run()
    assert not page.dataframe and "No run matches" in page.info[0].value


def test_only_what_was_ticked_is_deleted(open_page: Open, trained: Run) -> None:
    older, oldest = (trained.path.with_name(f"{year}0101-000000-star") for year in (2020, 2010))
    for copy in (older, oldest):
        shutil.copytree(trained.path, copy)
    page = tick(open_page("runs"), 1)
    assert any(str(older) in text.value for text in page.text)
    button(page, "Delete 1 of 3 runs permanently").click().run()
    assert [run.id for run in list_runs()] == [trained.id, oldest.name]
    assert not [label for label in labels(page) if "Delete" in label]  # the next one is not ticked instead


def test_a_run_created_meanwhile_is_not_deleted_instead_of_the_selected_one(open_page: Open, trained: Run) -> None:
    page = tick(open_page("runs"), 0)
    newer = trained.path.with_name("20991231-000000-newer")
    shutil.copytree(trained.path, newer)
    button(page, "Delete 1 of 1 runs permanently").click().run()
    assert newer.exists()


def test_a_run_in_training_is_not_deleted(open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "is_worker_alive", lambda run: True)
    page = tick(open_page("runs"), 0)
    button(page, "Delete 1 of 1 runs permanently").click().run()
    assert errors(page) == [f"A worker is training the run {trained.id}. Stop it before you delete the run."]
    assert trained.path.exists()


def test_a_selected_run_is_renamed_and_exported(open_page: Open, trained: Run) -> None:
    page = tick(open_page("runs"), 0)
    files = [element.label for element in page.get("download_button")]
    assert files == ["Run as .zip", "Report (one HTML page)", "Model as ONNX, with attention"]
    assert "LayerNorm" in " ".join(caption.value for caption in page.caption)  # why there is no file for timm
    widget(page, "text_input", "Name").set_value("My *first* model")
    widget(page, "text_area", "Note").set_value("Too *high* a rate")
    button(page, "Save").click().run()
    assert (trained.name, read_annotations(trained).note) == ("My *first* model", "Too *high* a rate")
    assert page.dataframe[0].value["run"][0].startswith("My *first* model, ")


@pytest.fixture
def faster(trained: Run) -> Run:
    """An older run that differs from `trained` in its learning rate."""
    path = shutil.copytree(trained.path, trained.path.with_name("20200101-000000-older"))
    config = json.loads((path / "config.json").read_text("utf-8"))
    (path / "config.json").write_text(json.dumps(config | {"lr": 0.05}), "utf-8")
    return Run.open(path)


def test_ticked_runs_are_compared_and_the_link_restores_the_comparison(
    open_page: Open, trained: Run, faster: Run
) -> None:
    page = tick(open_page("runs"), 0, 1)
    link = {"selected": page.query_params["selected"]}
    page = open_page("runs", **link, x="images seen", split="train", smoothing="0.5", log="loss")
    assert trained.config.train_loss_note in [caption.value for caption in page.caption]
    loss, accuracy = charts(page)
    assert [trace.name for trace in accuracy.data if trace.showlegend is not False] == ["lr 0.01", "lr 0.05"]
    assert (loss.layout.yaxis.type, accuracy.layout.yaxis.type) == ("log", "linear")
    assert (accuracy.layout.xaxis.title.text, accuracy.layout.yaxis.title.text) == ("images seen", "train accuracy")
    assert list(accuracy.data[1].x)[:-1] == pytest.approx([0, 72, 144, 216])
    downloads = [element.label for element in page.get("download_button")]
    assert downloads == ["Table (CSV)", "Curves (CSV)", "Everything (JSON)"]
    page.query_params["selected"] = faster.id
    assert "Comparison" not in " ".join(header.value for header in page.run().header)
    assert widget(page, "text_input", "Name").placeholder.startswith("star")


def test_tagged_runs_are_found_and_favorites_come_first(open_page: Open, trained: Run, faster: Run) -> None:
    page = tick(open_page("runs"), 1)
    button(page, "Add to favorites").click().run()
    table = page.dataframe[0].value
    assert table["folder"].tolist() == [str(faster.path), str(trained.path)] and table["★"].tolist() == ["★", ""]
    page = tick(page, 0, 1)
    widget(page, "multiselect", "Tags").set_value(["baseline", "no schedule"])
    button(page, "Add to 2 runs").click().run()
    assert [read_annotations(run).tags for run in (trained, faster)] == [("baseline", "no-schedule")] * 2
    page = tick(page, 0)
    widget(page, "multiselect", "Tags").set_value(["baseline"])
    button(page, "Remove from 1 run").click().run()
    for query, run in (("#baseline", trained), ("is:favorite", faster), ("tag:no-schedule lr>0.02", faster)):
        table = open_page("runs", search=query).dataframe[0].value
        assert table["folder"].tolist() == [str(run.path)]
    assert errors(open_page("runs", search="accurcy>0.7"))[0].startswith("'accurcy' is not a score")


def test_cloned_runs_wait_with_seeds_that_no_run_has(
    open_page: Open, trained: Run, faster: Run, started: list[Run]
) -> None:
    page = tick(open_page("runs"), 0, 1)
    button(page, "Queue 2 runs").click().run()
    assert [(run.config.lr, run.config.seed) for run in started] == [(0.01, 1), (0.05, 1)]
    assert len(page.dataframe[0].value) == 4 and page.toast[0].value == "Queued: 2 runs."


def test_nothing_is_cloned_if_the_images_of_one_run_are_gone(
    open_page: Open, trained: Run, faster: Run, started: list[Run], tmp_path: Path
) -> None:
    faster.set_config(faster.config.changed(data_dir=str(tmp_path / "gone")))
    page = tick(open_page("runs"), 0, 1)
    button(page, "Queue 2 runs").click().run()
    assert errors(page)[0].startswith("There is no folder") and not started and len(list_runs()) == 2


def test_a_model_of_timms_is_opened_from_the_form_or_refused_in_words(
    open_page: Open, image_folder: Path, tmp_path: Path
) -> None:
    page = open_page("runs")
    widget(page, "text_input", "Weights").set_value(str(tmp_path / "nowhere.safetensors"))
    widget(page, "text_input", "Image folder").set_value(str(image_folder))
    button(page, "Import this model").click().run()
    assert errors(page)[0].startswith("There is no file") and "nowhere.safetensors" in errors(page)[0]
    theirs = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=1, num_classes=3)
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    widget(page, "text_input", "Weights").set_value(str(tmp_path / "vit.safetensors"))
    button(page, "Import this model").click().run()
    (run,) = list_runs()
    assert run.config.imported and run.name == "vit"
    assert not errors(page)


def test_a_sweep_is_one_line_that_opens_and_folds(open_page: Open, trained: Run, swept_runs: list[Run]) -> None:
    page = tick(open_page("runs"), 1)
    table = page.dataframe[0].value
    assert table["run"].tolist()[1] == "sweep of lr, num_heads, 01 Jan 00:00:00 · 3 runs"
    assert table["test accuracy"].tolist()[1] == 90 and len(table) == 2
    button(page, "Show 3 runs").click().run()
    assert page.query_params["sweep"] == swept_runs[0].sweep
    assert page.dataframe[0].value["folder"].tolist() == [str(run.path) for run in (trained, *swept_runs)]
    button(tick(page, 2), "Collapse").click().run()
    assert len(page.dataframe[0].value) == 2


def test_a_ticked_sweep_is_all_its_runs_and_no_other(open_page: Open, trained: Run, swept_runs: list[Run]) -> None:
    page = tick(open_page("runs"), 1)
    assert all(any(str(run.path) in text.value for text in page.text) for run in swept_runs)
    button(page, "Delete 3 of 4 runs permanently").click().run()
    assert [run.id for run in list_runs()] == [trained.id]


def test_a_trial_that_came_meanwhile_is_not_deleted_with_its_sweep(
    open_page: Open, trained: Run, swept_runs: list[Run]
) -> None:
    page = tick(open_page("runs"), 1)
    shutil.copytree(swept_runs[2].path, swept_runs[2].path.with_name("20200101-000000-star"))
    button(page, "Delete 3 of 4 runs permanently").click().run()
    assert len(list_runs()) == 5


def test_a_link_to_either_of_two_runs_of_one_second_shows_its_own_numbers(open_page: Open, trained: Run) -> None:
    twin = Run.open(shutil.copytree(trained.path, trained.path.with_name(f"{trained.id}-2")))
    for epoch in (1, 2, 3):
        twin.checkpoint_path(epoch).unlink()
    for run, epochs in ((trained, 4), (twin, 1)):
        page = open_page("predictions", run=run.id)
        picker = widget(page, "selectbox", "Run")
        assert picker.value == run.id and len(set(picker.options)) == 3
        assert f"{predict_run(run).accuracy:.1%}" in [metric.value for metric in page.metric]
        assert len(run.epochs()) == epochs
    picker.select(trained.id).run()
    assert page.query_params["run"] == trained.id


def test_runs_that_cannot_be_read_are_named_and_deleted(open_page: Open, trained: Run) -> None:
    broken = shutil.copytree(trained.path, trained.path.with_name("20200101-000000-broken"))
    (broken / "config.json").write_text("[" * 200_000, encoding="utf-8")
    with (trained.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"epoch": 1}\n')
    page = open_page("runs")
    assert any("which are left out: 1." in caption.value.replace("\\", "") for caption in page.caption)
    assert any(text.value.startswith("20200101-000000-broken: The settings") for text in page.text)
    button(page, "Delete permanently").click().run()
    assert not broken.exists() and trained.path.exists() and not errors(page)


def test_the_settings_of_a_run_stand_beside_the_articles_and_those_of_two_where_they_differ(
    open_page: Open, trained: Run
) -> None:
    other = Run.create(trained.config.changed(lr=0.05, seed=7))
    table = next(
        table.value for table in open_page("train", run=trained.id).dataframe if "in the article" in table.value
    )
    differs = table["value"] != table["in the article"]
    assert list(differs) == sorted(differs, reverse=True) and set(table["name"]) == {each.name for each in settings()}
    assert table.set_index("name").loc["lr", ["value", "in the article"]].tolist() == ["0.01", "0.001"]
    every, compared = (element.value for element in tick(open_page("runs"), 0, 1).dataframe)
    for table in (every, compared):
        assert {"lr", "seed"} <= set(table) and not {"depth", "epochs"} & set(table)
        assert table["lr"].tolist() == [other.config.lr, trained.config.lr]
    assert compared["run"].tolist() == ["lr 0.05", "lr 0.01"]
    accuracies = [row["test_acc"] for row in trained.metrics()]
    assert compared["best epoch"].fillna(-1).tolist() == [-1, accuracies.index(max(accuracies))]
